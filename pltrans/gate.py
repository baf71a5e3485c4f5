"""Fit the gate of a trained network: how much of the residual is worth adding, and none where a face is good already.

    python -m pltrans.gate --model RUN/finish.pt --data FACES --val VALFACES

The gate is small, and near-clean faces, on which it matters, are few in a batch. With the rest of the network frozen a
face is three numbers to it (the squared error is a parabola in g) and its statistics, so that hundreds of faces can be
learnt by heart in seconds. Writes the fitted weights into the checkpoint.
"""
from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import torch
from torch import Tensor

from .config import Config
from .data import Faces
from .losses import per_sample
from .model import PLTrans

FLOOR = 2e-5  # squared error of about 53 dB, as losses.gate_loss has it
Cases = Dict[str, Tensor]


@torch.no_grad()
def collect(model: PLTrans, faces: Faces, count: int, seed: int) -> Cases:
    """What the gate sees of `count` degraded faces, and the parabola a g^2 - 2 b g + c of the squared error of each."""
    cases: Dict[str, list] = {"stats": [], "a": [], "b": [], "c": [], "factor": []}
    for step in range(-(-count // faces.cfg.batch)):
        x, y, factor = faces.pair_batch(seed, step)
        q, u, skips, energy = model.encode(x)
        delta = model.residual(x, q, u, skips)
        wanted = y - x
        cases["stats"].append(model.gate.stats(energy, skips, q, delta))
        for name, value in (("a", delta * delta), ("b", delta * wanted), ("c", wanted * wanted)):
            cases[name].append(per_sample(value))
        cases["factor"].append(factor)
    return {k: torch.cat(v) for k, v in cases.items()}


def gains(model: PLTrans, cases: Cases) -> Tuple[Tensor, Tensor]:
    """g of each case, and the log ratio of the squared error with the gated residual to that without."""
    g = 1.5 * torch.sigmoid(model.gate.net(cases["stats"]))[:, 0]
    after = cases["a"] * g * g - 2 * cases["b"] * g + cases["c"]
    return g, torch.log((after + FLOOR) / (cases["c"] + FLOOR))


def fit(model: PLTrans, cases: Cases, steps: int = 1500, lr: float = 1e-3, decay: float = 1e-2) -> None:
    """Train the gate on all cases at once; getting worse counts cfg.gate_harm-fold."""
    optim = torch.optim.AdamW(model.gate.parameters(), lr=lr, weight_decay=decay)
    for step in range(steps):
        optim.param_groups[0]["lr"] = lr * (1 - step / steps)
        _, ratio = gains(model, cases)
        loss = torch.where(ratio > 0, model.cfg.gate_harm * ratio, ratio).mean()
        optim.zero_grad()
        loss.backward()
        optim.step()


def report(name: str, model: PLTrans, cases: Cases) -> str:
    """Mean g and gain in dB of near-clean and of other faces."""
    with torch.no_grad():
        g, ratio = gains(model, cases)
    decibel, clean = -10 / np.log(10) * ratio, cases["c"] < 4e-4  # above 40 dB
    parts = [f"{what}: {int(mask.sum())} faces, g {float(g[mask].mean()):.2f}, {float(decibel[mask].mean()):+.3f} dB, "
             f"worst {float(decibel[mask].min()):+.2f}" for what, mask in (("near-clean", clean), ("degraded", ~clean)) if mask.any()]
    return f"{name}: " + "; ".join(parts)


def main() -> None:
    p = argparse.ArgumentParser(description="Fit the gate of a checkpoint.")
    p.add_argument("--model", type=Path, required=True, help="a checkpoint; it is rewritten")
    p.add_argument("--data", type=Path, required=True, help="training faces")
    p.add_argument("--val", type=Path, required=True)
    p.add_argument("--count", type=int, default=600)
    p.add_argument("--clean", type=float, default=0.4, help="share of near-clean faces")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    record = torch.load(a.model, map_location="cpu")
    cfg = Config.from_dict({**record["config"], "p_clean": a.clean})
    model = PLTrans(cfg).eval()
    model.load_state_dict(record["ema"])
    seen, other = collect(model, Faces(a.data, cfg), a.count, 5), collect(model, Faces(a.val, cfg), a.count // 4, 6)
    for step in ("before", "after"):
        print(report(f"{step}, training faces", model, seen), report(f"{step}, validation faces", model, other), sep="\n", flush=True)
        if step == "before":
            fit(model, seen)
    fitted = {f"gate.{k}": v for k, v in model.gate.state_dict().items()}
    record["ema"].update(fitted)
    record["model"].update(fitted)
    record["history"]["gate"] = {"faces": a.count}
    temporary = a.model.with_suffix(".tmp")
    torch.save(record, temporary)
    os.replace(temporary, a.model)


if __name__ == "__main__":
    main()
