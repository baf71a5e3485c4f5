"""D of Eq. 11: judges patches of an image, in the hinge form of the adversarial loss."""
from __future__ import annotations

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import bands
from .config import Config


class Discriminator(nn.Module):
    """Image [n,3,S,S] in [-1, 1] -> logits [n,1,s,s] and the features of each level, fine to coarse.

    Spectral normalisation (Miyato et al. 2018) bounds its slope. It starts at size/unshuffle, as E does, from the image's
    whitened bands: from plain pixels it can hardly tell blurred from sharp (after 90 steps its loss was 1.94 of 2,
    with the bands 1.13).
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(cfg.unshuffle)
        widths = (3 * cfg.unshuffle ** 2 + 6,) + tuple(cfg.disc_channels)
        self.levels = nn.ModuleList(
            nn.utils.spectral_norm(nn.Conv2d(a, b, 4 if i else 3, 2 if i else 1, 1))
            for i, (a, b) in enumerate(zip(widths, widths[1:])))
        self.last = nn.utils.spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tuple[Tensor, List[Tensor]]:
        fine, middle, _, mean = bands(x, self.unshuffle.downscale_factor)
        h, features = torch.cat([self.unshuffle(fine), middle, mean], 1), []
        for level in self.levels:
            h = F.leaky_relu(level(h), 0.2)
            features.append(h)
        return self.last(h), features


def weighted(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of values [n,...] over the samples whose `counts` [n] is 1."""
    return (values.float().flatten(1).mean(1) * counts).sum() / counts.sum().clamp(min=1)


def d_loss(real: Tensor, made: Tensor, counts: Tensor) -> Tensor:
    """What D minimises: 2 where it can't tell, 0 where it is sure."""
    return weighted(F.relu(1 - real) + F.relu(1 + made), counts)


def g_loss(made: Tensor, counts: Tensor) -> Tensor:
    """What the restorer minimises."""
    return weighted(-made, counts)
