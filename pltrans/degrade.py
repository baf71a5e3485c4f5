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
from PIL import Image, ImageDraw
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


def grain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Film grain: Gaussian noise of one colour, blurred to the size of grains, strongest in middle tones."""
    h, w = image.shape[:2]
    noise = torch.from_numpy(rng.standard_normal((1, 1, h, w), dtype=np.float32)).expand(1, 3, h, w)
    noise = blur(noise, float(rng.uniform(0.3, 1.6)))
    noise = (noise / noise.std() * rng.uniform(4, 18))[0].permute(1, 2, 0).numpy()
    tone = image / 255.0
    return image + noise * (0.4 + 2.4 * tone * (1 - tone))


def scratches(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to eight thin light or dark lines, mostly upright, as on film and prints, and a few specks of dust."""
    h, w = image.shape[:2]
    mask = Image.new("F", (w, h), 0.0)
    pen = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(1, 9))):
        x, y, length = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.1, 1.0) * h
        angle = rng.normal(0, 0.15) if rng.random() < 0.7 else rng.uniform(-1.6, 1.6)
        value = float(rng.uniform(0.3, 1.0) * rng.choice([-1, 1]))
        pen.line([x, y, x + length * np.sin(angle), y + length * np.cos(angle)], fill=value, width=int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(0, 12))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.5, 3)
        pen.ellipse([x - r, y - r, x + r, y + r], fill=float(rng.uniform(0.4, 1.0) * rng.choice([-1, 1])))
    line = blur(torch.from_numpy(np.asarray(mask).copy())[None, None].expand(1, 3, h, w), float(rng.uniform(0.3, 1.0)))
    alpha = line[0, 0].numpy()[..., None]
    return image * (1 - np.abs(alpha)) + 235 * np.clip(alpha, 0, 1) + 15 * np.clip(-alpha, 0, 1)


def halftone(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A printed screen: brightness moved by rotated cosine dots of 4 to 9 pixels."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    angle, period = rng.uniform(0.3, 1.2), rng.uniform(4, 9)
    a, b = (x * np.cos(angle) + y * np.sin(angle)), (y * np.cos(angle) - x * np.sin(angle))
    dots = np.cos(2 * np.pi * a / period) * np.cos(2 * np.pi * b / period)
    return image + (rng.uniform(10, 45) * dots)[..., None]


def video_blocks(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two generations of strong DCT compression on different grids, as old digital video and re-saved files have."""
    out = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    for _ in range(2):
        dy, dx = int(rng.integers(0, 8)), int(rng.integers(0, 8))
        out = np.roll(jpeg(np.roll(out, (dy, dx), (0, 1)), int(rng.integers(15, 50))), (-dy, -dx), (0, 1))
    return out.astype(np.float32)


def fade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lost contrast and lifted blacks of a faded print. The clear face fades too: tones are not ours to change."""
    low, high = rng.uniform(0, 60), rng.uniform(185, 255)
    return np.rint(low + image * ((high - low) / 255)).astype(np.uint8)


def old_media(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One or two of grain, scratches, halftone and video blocks on an 8-bit RGB image: damage beyond Eq. 13."""
    kinds = rng.permutation(4)[:1 + int(rng.random() < 0.4)]
    out = image.astype(np.float32)
    for kind in sorted(kinds):
        out = (scratches, halftone, grain, video_blocks)[kind](out, rng)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


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
