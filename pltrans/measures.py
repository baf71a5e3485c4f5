"""Measures of restored faces: PSNR, SSIM, gradient energy, Frechet distance. Images are [1,3,S,S] in [-1, 1]."""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


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


def gradient_energy(x: Tensor) -> float:
    """Mean squared difference of neighbours: how sharp (or noisy) an image is."""
    return float(((x[..., 1:] - x[..., :-1]) ** 2).mean() + ((x[..., 1:, :] - x[..., :-1, :]) ** 2).mean())


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two sets of features [n,d] taken as Gaussians (Heusel et al. 2017, FID)."""
    ma, mb, ca, cb = a.mean(0), b.mean(0), np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(ca))
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(cb) @ root)
    return float(((ma - mb) ** 2).sum() + np.trace(np.atleast_2d(ca)) + np.trace(np.atleast_2d(cb))
                 - 2 * np.sqrt(cross.clip(0)).sum())
