"""The paper's Table 1 in small: a trained network without one of its parts, trained on for a while, then measured.

    python -m pltrans.ablate --start restore/models/pltrans-s.onnx --data FACES --val VALFACES --out OUT --steps 100

Every variant, the whole network among them, starts from the same weights, sees the same batches, and is measured with its
gate open. That is far
less than training each from nothing, as the paper does: a part that the others can replace is replaced only as far as
--steps go, so differences are upper bounds for parts that are used, and say nothing about longer training.
"""
from __future__ import annotations

import argparse
import csv
import dataclasses
import math
from pathlib import Path
from typing import Any, Dict, List, Sequence

import torch

from . import recover
from .config import Config, Plan
from .data import Faces
from .evaluate import spread, table
from .model import PLTrans
from .train import load_model, train

VARIANTS: Dict[str, Dict[str, Any]] = {
    "PLTrans": {},
    "w/o V": {"use_dictionary": False},
    "w/o DIFF": {"use_diffusion": False},
    "w/o LT": {"use_phi": False},
    "w/o DWT": {"use_dwt": False},
    "Eq. 4 alone": {"regularise": 0.0},  # the diffusion learns from clear faces' latents only
}
FACTORS = (4.0, 8.0, 16.0, 32.0)
STEPS = (0, 4, 8)


def start(source: Path, folder: Path, changes: Dict[str, Any]) -> Config:
    """Write FOLDER/diffusion.pt, with which the stage restore begins: the weights of `source`, a changed configuration."""
    record = recover.load(source)
    cfg = dataclasses.replace(Config.from_dict(record["config"]), **changes)
    record.update(config=cfg.to_dict())
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(record, folder / "diffusion.pt")
    (folder / "restore.pt").unlink(missing_ok=True)  # of an earlier ablation
    return cfg


@torch.no_grad()
def open_gate(model: PLTrans) -> None:
    """g = 1 for every face: a few steps move the gate more than the part that was taken out does the residual."""
    model.gate.net[2].weight.zero_()
    model.gate.net[2].bias.fill_(math.log(2.0))  # 1.5 sigmoid(log 2) = 1


def ablate(source: Path, data: Path, files: Sequence[Path], out: Path, plan: Plan,
           factors: Sequence[float] = FACTORS) -> List[Dict[str, Any]]:
    """Train and measure every variant; one row per variant and degradation. OUT/ablation.csv grows as they end."""
    rows: List[Dict[str, Any]] = []
    for name, changes in VARIANTS.items():
        folder = out / name.replace("/", "").replace(" ", "-")
        cfg = start(source, folder, changes)
        train(folder, "restore", cfg, Faces(data, cfg), plan)
        model = load_model(folder / "restore.pt")
        open_gate(model)
        rows += [{"variant": name, **row} for row in table(model, cfg, files, factors, STEPS)]
        with open(out / "ablation.csv", "w", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return rows


def markdown(rows: Sequence[Dict[str, Any]]) -> str:
    """PSNR gained over the input, per variant, degradation and number of steps."""
    factors = sorted({r["b"] for r in rows})
    lines = ["| gain in dB at 0 / 4 / 8 steps | " + " | ".join(f"×{b:g}" for b in factors) + " |",
             "|---|" + "---|" * len(factors)]
    for name in dict.fromkeys(r["variant"] for r in rows):
        cells = []
        for b in factors:
            row = next(r for r in rows if r["variant"] == name and r["b"] == b)
            cells.append(" / ".join(f"{row[f'psnr_out{n}'] - row['psnr_in']:.2f}" for n in STEPS))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description="Ablations of a trained network (the paper's Table 1, small).")
    p.add_argument("--start", type=Path, required=True, help="a checkpoint of restore or finish, or an exported file")
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--val", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--lr", type=float, default=3e-4)
    p.add_argument("--count", type=int, default=16, help="validation faces, all sets in turn")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    text = markdown(ablate(a.start, a.data, spread(a.val, a.count), a.out, Plan(steps=a.steps, lr=a.lr)))
    (a.out / "ablation.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
