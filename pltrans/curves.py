"""Plot a run's CSV logs over CPU hours: losses per stage, and validation PSNR where the run has it.

    python -m pltrans.curves RUN [--out RUN/curves.png]
"""
from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Dict, List

import matplotlib

from .config import STAGES

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  (the backend comes first)

NOT_LOSSES = ("step", "seconds", "cpu", "grad", "used")


def rows(path: Path) -> List[Dict[str, float]]:
    """A CSV log as numbers, without the rows that a run repeated after it had gone back to a checkpoint."""
    kept: List[Dict[str, float]] = []
    with open(path, newline="") as handle:
        for row in csv.DictReader(handle):
            numbers = {k: float(v) for k, v in row.items()}
            while kept and kept[-1]["step"] > numbers["step"]:
                kept.pop()
            kept.append(numbers)
    return kept


def plot(run: Path, out: Path) -> None:
    """A row per stage that has a log: losses (logarithmic), and, if any stage was validated, gain over the input or PSNR."""
    stages = [s for s in STAGES if (run / f"{s}-loss.csv").exists()]
    if not stages:
        raise FileNotFoundError(f"no STAGE-loss.csv in {run}: train first")
    validated = any((run / f"{s}-val.csv").exists() for s in stages)
    figure, panels = pyplot.subplots(len(stages), 1 + validated, figsize=(11, 3.2 * len(stages)), squeeze=False)
    for row, stage in zip(panels, stages):
        log = rows(run / f"{stage}-loss.csv")
        hours = [r["cpu"] / 3600 for r in log]
        for name in [k for k in log[0] if k not in NOT_LOSSES]:
            row[0].plot(hours, [r[name] for r in log], label=name, linewidth=0.8)
        row[0].set(title=f"{stage}: losses", xlabel="CPU hours", yscale="symlog")
        row[0].legend(fontsize=6, ncol=2)
        if validated:
            row[1].set(title=f"{stage}: validation", xlabel="hours", ylabel="dB")
        if (run / f"{stage}-val.csv").exists():
            validation(row[1], rows(run / f"{stage}-val.csv"))
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def validation(panel: "pyplot.Axes", log: List[Dict[str, float]]) -> None:
    """PSNR of the reconstruction, or the PSNR gained over the input per degradation at the most steps."""
    if "psnr" in log[0]:
        panel.plot([r["seconds"] / 3600 for r in log], [r["psnr"] for r in log])
        return
    last = [k for k in log[0] if k.startswith("psnr_out")][-1]
    for b in sorted({r["b"] for r in log}):
        own = [r for r in log if r["b"] == b]
        panel.plot([r["seconds"] / 3600 for r in own], [r[last] - r["psnr_in"] for r in own],
                   label=f"×{b:g}" if b else "near-clean", marker=".")
    panel.axhline(0, color="grey", linewidth=0.5)
    panel.legend(fontsize=6)


def main() -> None:
    p = argparse.ArgumentParser(description="Plot the losses and validation figures of a run.")
    p.add_argument("run", type=Path)
    p.add_argument("--out", type=Path, help="PNG or SVG, default RUN/curves.png")
    a = p.parse_args()
    out = a.out or a.run / "curves.png"
    plot(a.run, out)
    print(out)


if __name__ == "__main__":
    main()
