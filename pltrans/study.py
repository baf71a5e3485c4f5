"""What the diffusion's steps do (section 4.3, Fig. 4): how far u is from the clear face's, and what is made of it.

    python -m pltrans.study --model restore/models/pltrans-s.onnx --val VALFACES --out OUT

Writes OUT/steps.md, a table of distance, PSNR and identity by degradation and number of steps, and OUT/steps.png.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch

from . import recover
from .config import Config
from .evaluate import pair, spread
from .identity import Identity
from .measures import psnr
from .model import PLTrans
from .restorers import noise_for
from .stages import teacher_of

FACTORS = (8.0, 16.0, 32.0, 64.0)
STEPS = (0, 1, 2, 4, 6, 8, 10, 12)


@torch.no_grad()
def study(model: PLTrans, teacher: Dict[str, Any], files: Sequence[Path], factors: Sequence[float] = FACTORS,
          steps: Sequence[int] = STEPS, judge: Optional[Identity] = None, seed: int = 7) -> List[Dict[str, float]]:
    """One row per degradation and number of steps: means over `files`. `distance` is rms(u - u_hq), u_hq the teacher's."""
    cfg, (T_E, T_maps), rows = model.cfg, teacher_of(model, {"teacher": teacher}), []
    for b in factors:
        got: Dict[int, List[List[float]]] = {n: [] for n in steps}
        for i, path in enumerate(files):
            x, y = pair(path, i, b, cfg, seed)
            u_hq = T_maps.encode(T_E(y))[0]
            q, u_lq, skips, energy = model.encode(x)
            noise = noise_for(path.name, cfg)
            truth = judge(y) if judge else None
            for n in steps:
                left = torch.tensor([n])
                u = model.noised(u_lq, noise, left)
                for k in range(n):
                    u = model.step(u, u_lq, noise, left - k)
                r = model.decode(x, q, u, skips, energy)
                got[n].append([float((u - u_hq).pow(2).mean().sqrt()), psnr(r, y),
                               float((judge(r) - truth).norm()) if judge else float("nan")])
        for n in steps:
            distance, quality, identity = np.mean(got[n], 0)
            rows.append({"b": b, "steps": n, "distance": distance, "psnr": quality, "identity": identity})
    return rows


def markdown(rows: Sequence[Dict[str, float]]) -> str:
    """A line per degradation and measure, a column per number of steps."""
    steps = sorted({r["steps"] for r in rows})
    lines = ["| | | " + " | ".join(f"{n:g}" for n in steps) + " |", "|---" * (2 + len(steps)) + "|"]
    for b in sorted({r["b"] for r in rows}):
        for name, digits in (("distance", 3), ("psnr", 2), ("identity", 4)):
            cells = [next(r[name] for r in rows if r["b"] == b and r["steps"] == n) for n in steps]
            if not np.isnan(cells).any():
                lines.append(f"| ×{b:g} | {name} | " + " | ".join(f"{v:.{digits}f}" for v in cells) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Dict[str, float]], out: Path) -> None:
    """Distance and PSNR, relative to those without steps, over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4))
    for panel, name, label in zip(panels, ("distance", "psnr"), ("distance to u_hq against 0 steps", "PSNR against 0 steps, dB")):
        for b in sorted({r["b"] for r in rows}):
            own = [r for r in rows if r["b"] == b]
            first = own[0][name]
            panel.plot([r["steps"] for r in own], [r[name] / first if name == "distance" else r[name] - first for r in own],
                       label=f"×{b:g}", marker=".")
        panel.set(xlabel="steps", ylabel=label)
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    p = argparse.ArgumentParser(description="Distance, PSNR and identity by the number of diffusion steps.")
    p.add_argument("--model", type=Path, required=True, help="a checkpoint of restore or finish, or an exported file")
    p.add_argument("--val", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--count", type=int, default=16)
    p.add_argument("--dlib", type=Path, default=Path(".deps/models/dlib_face_recognition_resnet_model_v1.dat"))
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    record = recover.load(a.model)
    model = PLTrans(Config.from_dict(record["config"])).eval()
    model.load_state_dict(record["ema"])
    judge = Identity(a.dlib).eval() if a.dlib.exists() else None
    rows = study(model, record["state"]["teacher"], spread(a.val, a.count), judge=judge)
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "steps.md").write_text(markdown(rows))
    plot(rows, a.out / "steps.png")
    print(markdown(rows))


if __name__ == "__main__":
    main()
