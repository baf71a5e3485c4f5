"""`steps: auto` as `restored` decides it: the measure of align/degradation.go in NumPy, and the steps that it asks for.

The host is the authority: the numbers here are copies, and the tests of both sides hold them to the same values.
"""
from __future__ import annotations

from typing import List

import numpy as np
import torch
from torch import Tensor

from .config import Config
from .restorers import Network, Restore, noise_for

TOP, LEFT, HEIGHT, WIDTH = 112, 96, 384, 320  # the middle of the 512-pixel frame
BANDS, QUIET, BLOCK = 5, 3, 8
CONSTANT = 1.3312
MEAN = np.array([-14.357, -12.859, -11.083, -9.647, -8.855, -16.966, -15.853, -13.726])
SPREAD = np.array([2.865, 1.829, 1.143, 0.719, 0.643, 3.492, 1.807, 1.039])
LINEAR = np.array([-1.0636, -1.2165, 0.5488, 0.0958, -0.0536, -0.251, 0.6421, 0.0369])
SQUARE = ((0.5022, -0.2877, -1.06, 0.0207, 0.1529, -0.9612, 0.3259, 0.2552),
          (1.3677, -0.6677, -0.129, 0.0092, -1.2762, -0.2243, -0.1927),
          (0.4987, 0.0442, -0.1734, 1.6675, -0.7137, 0.2522),
          (-0.0764, 0.1575, -0.1148, 0.19, -0.149),
          (-0.044, -0.1737, 0.0766, -0.0025),
          (1.2382, -0.7755, 0.0031),
          (0.67, -0.2541),
          (0.0754,))


def log_energy(e: float) -> float:
    """log2 with a floor at a tenth of an 8-bit step."""
    return float(np.log2(e + (0.1 / 255) ** 2))


def half(line: np.ndarray) -> np.ndarray:
    """Columns [h, w] halved by the binomial 1-4-6-4-1."""
    p = np.pad(line, ((0, 0), (2, 2)), mode="edge")
    return (p[:, :-4] + p[:, 4:] + 4 * (p[:, 1:-3] + p[:, 3:-1]) + 6 * p[:, 2:-2])[:, ::2] / 16


def twice(line: np.ndarray) -> np.ndarray:
    """Columns [h, w] doubled by the same binomial."""
    p = np.pad(line, ((0, 0), (1, 1)), mode="edge")
    out = np.empty((line.shape[0], 2 * line.shape[1]), line.dtype)
    out[:, ::2] = (p[:, :-2] + 6 * p[:, 1:-1] + p[:, 2:]) / 8
    out[:, 1::2] = (p[:, 1:-1] + p[:, 2:]) / 2
    return out


def octaves(x: Tensor) -> float:
    """How degraded a face [1,3,512,512] in [-1, 1] is: log2 of the downscaling that would have cost as much, 0 to 5."""
    if x.shape[-2:] != (512, 512):
        raise ValueError(f"a face of 512x512 is measured, not {tuple(x.shape)}")
    r, g, b = ((x[0, :, TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH].numpy() + 1) / 2).astype(np.float32)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    f: List[float] = []
    quiet: List[float] = []
    for k in range(BANDS):
        small = half(half(luma).T).T
        band = luma - twice(twice(small).T).T
        h, w = (side // BLOCK * BLOCK for side in band.shape)
        energies = (band[:h, :w] ** 2).reshape(h // BLOCK, BLOCK, w // BLOCK, BLOCK).mean((1, 3)).ravel()
        f.append(log_energy(energies.mean()))
        if k < QUIET:
            quiet.append(log_energy(np.sort(energies)[len(energies) // 4]))
        luma = small
    v = np.clip((np.array(f + quiet) - MEAN) / SPREAD, -3, 3)
    fit = CONSTANT + LINEAR @ v + sum(c * v[i] * v[i + j] for i, row in enumerate(SQUARE) for j, c in enumerate(row))
    return float(min(max(fit, 0.0), 5.0))


def steps_for(measured: float) -> int:
    """Diffusion steps for a face: align.StepsFor."""
    return 8 if measured >= 4.25 else 4 if measured >= 3.5 else 0


def auto(run: Network, cfg: Config) -> Restore:
    """PLTrans with the steps that the face itself asks for; `run` takes image, noise and steps."""
    return lambda x, name, b: run(x, noise_for(name, cfg), torch.tensor([steps_for(octaves(x))]))
