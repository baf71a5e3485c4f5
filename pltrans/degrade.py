"""Degradation of Eq. 13: blur, shrink by b, noise, JPEG, and back to the first size (bilinear).

    python -m pltrans.degrade --faces DIR --out DIR --seed N --low 1 --high 8 --count N

writes OUT/truth/NAME.png and OUT/input/NAME.png in the same frame, and OUT/degradations.csv.
"""
from __future__ import annotations

import argparse
import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Degradation:
    """The five numbers of Eq. 13, drawn as the paper does; b is drawn log-uniformly."""

    rho: float  # deviation of the Gaussian blur in pixels, 0..5 by 0.1
    b: float  # how many times smaller
    sigma: float  # deviation of the noise in 8-bit steps, 0..10
    quality: int  # JPEG, 50..100
    seed: int  # of the noise


def draw(rng: np.random.Generator, low: float, high: float) -> Degradation:
    """A degradation with b log-uniform in [low, high]."""
    rho = int(rng.integers(0, 51)) / 10
    b = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return Degradation(rho, b, float(rng.uniform(0, 10)), int(rng.integers(50, 101)), int(rng.integers(2 ** 31)))


def draw_clean(rng: np.random.Generator) -> Degradation:
    """A face that is nearly as good as the original: training must learn to leave it alone."""
    return Degradation(float(rng.uniform(0, 0.4)), 1.0, float(rng.uniform(0, 1)), int(rng.integers(90, 101)),
                       int(rng.integers(2 ** 31)))


def blur(x: Tensor, rho: float) -> Tensor:
    """Gaussian blur of [1,3,h,w], cut at three deviations, borders reflected."""
    if rho < 0.05:
        return x
    radius = max(1, int(3 * rho + 0.5))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).float() / rho) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, -1)
    x = F.pad(x, (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, line, groups=3), line.transpose(2, 3), groups=3)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An 8-bit RGB image after JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def degrade(image: np.ndarray, d: Degradation) -> np.ndarray:
    """Eq. 13 on an 8-bit RGB image [S,S,3]; same shape and type. The same `d` gives the same pixels."""
    size = image.shape[0]
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float()
    small = max(8, round(size / d.b))
    x = blur(x, d.rho)
    if small != size:
        x = F.interpolate(x, size=(small, small), mode="bilinear", align_corners=False, antialias=True)
    pixels = x[0].permute(1, 2, 0).numpy()
    noise = np.random.default_rng(d.seed).standard_normal(pixels.shape, dtype=np.float32)
    pixels = np.clip(np.rint(pixels + d.sigma * noise), 0, 255).astype(np.uint8)
    pixels = jpeg(pixels, d.quality)
    if small == size:
        return pixels.copy()
    x = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float()
    x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=small > size)
    return x[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def write_pairs(faces: Path, out: Path, seed: int, low: float, high: float, count: int) -> int:
    """Write up to `count` pairs of PNGs (0 = all) and degradations.csv; how many were written."""
    from .data import load_face, list_faces

    files = list_faces(faces)
    order = np.random.default_rng(seed).permutation(len(files))
    files = [files[i] for i in order[:count or len(files)]]
    for name in ("truth", "input"):
        (out / name).mkdir(parents=True, exist_ok=True)
    with open(out / "degradations.csv", "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["name", "source", "rho", "b", "sigma", "quality"])
        for i, path in enumerate(files):
            d = draw(np.random.default_rng([seed, i]), low, high)
            image = load_face(path)
            name = f"{path.parent.name}-{path.stem}.png"
            Image.fromarray(image).save(out / "truth" / name, compress_level=1)
            Image.fromarray(degrade(image, d)).save(out / "input" / name, compress_level=1)
            table.writerow([name, path, f"{d.rho:.1f}", f"{d.b:.3f}", f"{d.sigma:.2f}", d.quality])
    return len(files)


def main() -> None:
    p = argparse.ArgumentParser(description="Write pairs of clear and degraded faces (Eq. 13).")
    p.add_argument("--faces", type=Path, required=True, help="folder of aligned 512x512 faces, searched in depth")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--low", type=float, default=1.0)
    p.add_argument("--high", type=float, default=8.0)
    p.add_argument("--count", type=int, default=0, help="0 = all")
    a = p.parse_args()
    if not 0.5 <= a.low <= a.high <= 64:
        p.error("--low and --high must hold 0.5 <= low <= high <= 64")
    print(f"{write_pairs(a.faces, a.out, a.seed, a.low, a.high, a.count)} pairs in {a.out}")


if __name__ == "__main__":
    main()
