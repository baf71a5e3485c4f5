"""Losses of Eq. 2-4 and 10 (gradient-L1 and stage-1 features stand in for VGG), and the gate's."""
from __future__ import annotations

from typing import List, Tuple

import torch
from torch import Tensor

from .measures import ssim_each


def per_sample(x: Tensor) -> Tensor:
    return x.float().flatten(1).mean(1)


def gradients(x: Tensor) -> Tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical differences, per sample [n]."""
    (ah, av), (bh, bv) = gradients(a), gradients(b)
    return 0.5 * (per_sample((ah - bh).abs()) + per_sample((av - bv).abs()))


def relative_l1(r: Tensor, x: Tensor, y: Tensor, floor: float = 0.05) -> Tensor:
    """|r - y| over |x - y|: mild degradations count as much as heavy ones. Scalar."""
    return (per_sample((r - y).abs()) / (per_sample((x - y).abs()) + floor)).mean()


def relative_gradient(r: Tensor, x: Tensor, y: Tensor, floor: float = 0.02) -> Tensor:
    return (gradient_l1(r, y) / (gradient_l1(x, y) + floor)).mean()


def relative_structure(r: Tensor, x: Tensor, y: Tensor, floor: float = 0.05) -> Tensor:
    """1 - SSIM of the result over that of the input: wrong edges on a heavy face cost more than none."""
    with torch.no_grad():
        before = 1 - ssim_each(x, y)
    return ((1 - ssim_each(r, y)) / (before + floor)).mean()


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Eq. 2: KL(N(mean, exp logvar) || N(0, 1)), mean over elements, in nats."""
    return 0.5 * (mean * mean + logvar.exp() - 1 - logvar).mean()


def feature_l1(a: List[Tensor], b: List[Tensor]) -> Tensor:
    """Relative L1 of feature maps: phi of Eq. 10."""
    total = sum((f.float() - g.float()).abs().mean() / (g.float().abs().mean() + 1e-3) for f, g in zip(a, b))
    return total / len(a)


def gate_loss(g: Tensor, delta: Tensor, x: Tensor, y: Tensor, harm: float) -> Tensor:
    """Mean log ratio of the squared error with and without the gated residual; getting worse counts `harm`-fold.

    g is [n, 1]; delta is detached here, so that only the gate learns from it.
    """
    floor = 2e-5  # squared error of about 53 dB: below it nothing is seen
    after = per_sample((x + g.reshape(-1, 1, 1, 1) * delta.detach() - y) ** 2)
    before = per_sample((x - y) ** 2)
    ratio = torch.log((after + floor) / (before + floor))
    return torch.where(ratio > 0, harm * ratio, ratio).mean()
