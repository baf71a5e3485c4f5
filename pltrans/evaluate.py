"""PSNR and SSIM of input and output per degradation and number of steps.

    python -m pltrans.evaluate --model RUN/restore.pt --faces VALFACES --count 40 --steps 0,4,8
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Config
from .data import list_faces, load_face, to_tensor
from .degrade import degrade, draw, draw_clean

FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def psnr(a: Tensor, b: Tensor) -> float:
    """dB of two [1,3,S,S] in [-1, 1], after rounding to 8 bits; 100 where they are equal."""
    a, b = ((t.clamp(-1, 1) * 127.5 + 127.5).round() for t in (a, b))
    mse = float(((a - b) ** 2).mean())
    return 100.0 if mse == 0 else 10 * float(np.log10(255 ** 2 / mse))


def ssim(a: Tensor, b: Tensor) -> float:
    """SSIM with the usual 11x11 Gaussian window (deviation 1.5), mean over RGB, of images in [-1, 1]."""
    line = torch.exp(-0.5 * (torch.arange(-5, 6).float() / 1.5) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, 11)

    def mean(t: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(t, line, groups=3), line.transpose(2, 3), groups=3)

    a, b = a.clamp(-1, 1) * 127.5, b.clamp(-1, 1) * 127.5
    ma, mb = mean(a + 127.5), mean(b + 127.5)
    va, vb = mean((a + 127.5) ** 2) - ma ** 2, mean((b + 127.5) ** 2) - mb ** 2
    cov = mean((a + 127.5) * (b + 127.5)) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma ** 2 + mb ** 2 + c1) * (va + vb + c2))).mean())


def noise_for(name: str, cfg: Config) -> Tensor:
    """The noise of a face: seeded by its name, so that two runs agree."""
    seed = int.from_bytes(name.encode()[-7:], "little")
    return torch.randn(1, cfg.latent, cfg.side, cfg.side, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def table(restore: Callable[[Tensor, Tensor, Tensor], Tensor], cfg: Config, files: Sequence[Path],
          factors: Sequence[float], steps: Sequence[int], seed: int = 7) -> List[Dict[str, Any]]:
    """One row per factor (0 = near-clean): mean PSNR and SSIM of the input and of the output at each step count."""
    rows = []
    for factor in factors:
        got: Dict[str, List[float]] = {}
        for i, path in enumerate(files):
            rng = np.random.default_rng([seed, i])
            d = draw(rng, factor, factor) if factor > 0 else draw_clean(rng)
            clear = load_face(path, cfg.size)
            x, y = to_tensor([degrade(clear, d)]), to_tensor([clear])
            outputs = {"in": x}
            for n in steps:
                outputs[f"out{n}"] = restore(x, noise_for(path.name, cfg), torch.tensor([n]))
            for name, image in outputs.items():
                got.setdefault(f"psnr_{name}", []).append(psnr(image, y))
                got.setdefault(f"ssim_{name}", []).append(ssim(image, y))
            last = got[f"psnr_out{steps[-1]}"][-1] - got["psnr_in"][-1]
            got.setdefault("not_worse", []).append(float(last > -0.05))
        rows.append({"b": factor, "n": len(files), **{k: round(float(np.mean(v)), 4) for k, v in got.items()}})
    return rows


def spread(folder: Path, count: int) -> List[Path]:
    """About `count` faces, every set of `folder` represented (sets are taken in turn)."""
    by_set: Dict[str, List[Path]] = {}
    for path in list_faces(folder):
        by_set.setdefault(path.parent.name, []).append(path)
    picked = [v[i] for i in range(max(map(len, by_set.values()))) for v in by_set.values() if i < len(v)]
    return picked[:count] if count else picked


def validation(folder: Path, cfg: Config, count: int = 8) -> Callable[[Any], List[Dict[str, Any]]]:
    """The figures that training logs: a few faces, five degradations, 4 steps."""
    files = spread(folder, count)
    return lambda model: table(model, cfg, files, (0, 1, 2, 4, 8), (4,))


def main() -> None:
    p = argparse.ArgumentParser(description="PSNR and SSIM by degradation and steps.")
    p.add_argument("--model", type=Path, required=True, help="a checkpoint (.pt) or an ONNX file")
    p.add_argument("--faces", type=Path, required=True)
    p.add_argument("--count", type=int, default=40, help="faces, all sets in turn; 0 = all")
    p.add_argument("--steps", default="0,4,8")
    p.add_argument("--factors", default=",".join(str(f) for f in (0,) + FACTORS), help="b of Eq. 13; 0 = near-clean")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    if a.model.suffix == ".onnx":
        from .export import onnx_restorer

        restore, cfg = onnx_restorer(a.model, a.threads)
    else:
        from .train import load_model

        restore = load_model(a.model)
        cfg = restore.cfg
    files = spread(a.faces, a.count)
    for factor in a.factors.split(","):
        row = table(restore, cfg, files, (float(factor),), [int(s) for s in a.steps.split(",")])[0]
        print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
