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


def ssim_each(a: Tensor, b: Tensor) -> Tensor:
    """SSIM [n] (Wang et al. 2004) with the usual 11x11 Gaussian window (deviation 1.5), mean over RGB, of images in [-1, 1]."""
    line = torch.exp(-0.5 * (torch.arange(-5, 6, device=a.device).float() / 1.5) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, 11)

    def mean(t: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(t, line, groups=3), line.transpose(2, 3), groups=3)

    # Channels last: 14 times faster on CPUs.
    a, b = ((t.float().clamp(-1, 1) * 127.5 + 127.5).contiguous(memory_format=torch.channels_last) for t in (a, b))
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma ** 2, mean(b * b) - mb ** 2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma ** 2 + mb ** 2 + c1) * (va + vb + c2))).mean((1, 2, 3))


def ssim(a: Tensor, b: Tensor) -> float:
    """`ssim_each` of two [1,3,S,S]."""
    return float(ssim_each(a, b))


TONES = ((41.0, "light skin"), (10.0, "medium skin"), (-np.inf, "dark skin"))  # lower limits of ITA in degrees


def skin_tone(y: Tensor) -> str:
    """The skin's class by the individual typology angle atan((L* - 50) / b*) of Chardon et al. 1991, from the median
    colour of both cheeks of an ffhq_512 crop: light (over 41 degrees), medium (10 to 41), dark. It depends on the
    photo's light and white balance; good enough to see whether a group fares worse."""
    s = y.shape[-1] / 512
    cheeks = [y[0, :, int(275 * s):int(335 * s), int(a * s):int(b * s)].reshape(3, -1) for a, b in ((165, 215), (297, 347))]
    srgb = (torch.cat(cheeks, 1).median(1)[0] + 1) / 2
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).double()
    xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).double() @ linear
    f = [t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116
         for t in (xyz / torch.tensor([0.9505, 1.0, 1.089]).double()).tolist()]
    lightness, blue = 116 * f[1] - 16, 200 * (f[1] - f[2])
    angle = np.degrees(np.arctan2(lightness - 50, blue))
    return next(name for least, name in TONES if angle > least)


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
