"""The small parts that E, G, the maps and epsilon_theta are made of."""
from __future__ import annotations

import math
from typing import List

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3(cin: int, cout: int, stride: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """A 3x3 convolution with He initialisation for LeakyReLU(0.2), times `gain`."""
    conv = nn.Conv2d(cin, cout, 3, stride, 1)
    nn.init.kaiming_normal_(conv.weight, a=0.2)
    nn.init.zeros_(conv.bias)
    conv.weight.data.mul_(gain)
    return conv


def up(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def bands(x: Tensor, r: int) -> List[Tensor]:
    """The pre-whitened bands of an image [n,3,S,S], fine to coarse, noise and detail at the size of content: S, S/r, S/4r,
    and the mean of r x r pixels."""
    a4, a16, a64 = (F.avg_pool2d(x, k) for k in (r, r * 4, r * 16))
    return [8 * (x - up(a4, r)), 5 * (a4 - up(a16, 4)), 3 * (a16 - up(a64, 4)), a4]


class GroupNorm(nn.GroupNorm):
    """GroupNorm in float32 (torch 1.13's CPU autocast breaks the bfloat16 one)."""

    def __init__(self, channels: int) -> None:
        super().__init__(math.gcd(16, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps)


class PlainBlock(nn.Module):
    """Norm-free residual block for 32x32 and finer: the size of noise and detail must survive."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv3(channels, channels)
        self.second = conv3(channels, channels, gain=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), 0.2))


class NormBlock(nn.Module):
    """GroupNorm-SiLU residual block for the coarsest grid; with `time_dim`, FiLM by a time embedding."""

    def __init__(self, cin: int, cout: int, time_dim: int = 0) -> None:
        super().__init__()
        self.norm1, self.first = GroupNorm(cin), conv3(cin, cout)
        self.norm2, self.second = GroupNorm(cout), conv3(cout, cout, gain=0.2)
        self.film = nn.Linear(time_dim, 2 * cout) if time_dim else None
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, time: Tensor = None) -> Tensor:
        h = self.norm2(self.first(F.silu(self.norm1(x))))
        if self.film is not None:
            scale, shift = self.film(time)[:, :, None, None].float().chunk(2, 1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.second(F.silu(h))


class Attention(nn.Module):
    """Multi-head attention over a side x side grid, softmax(Q K' / sqrt(N)) V of Eq. 8-9, then a projection.

    Queries come from `x`, keys from `key`, values from `value`; each is [n, channels, side, side].
    The result is the update only: the caller adds its residual.
    """

    def __init__(self, channels: int, heads: int, side: int, kernel: int = 1) -> None:
        super().__init__()
        self.shape = (-1, heads, channels // heads, side * side)
        self.back = (-1, channels, side, side)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.out = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.out.weight.data.mul_(0.3)

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (f(t).reshape(self.shape) for f, t in ((self.q, x), (self.k, key), (self.v, value)))
        weights = torch.matmul(q.transpose(2, 3), k) * (self.shape[2] ** -0.5)
        weights = weights.float().softmax(-1).to(v.dtype)
        return self.out(torch.matmul(v, weights.transpose(2, 3)).reshape(self.back))


class SelfAttention(nn.Module):
    """x + Attention(norm(x)): queries, keys and values from the same normalised features."""

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)
        self.attention = Attention(channels, heads, side)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        return x + self.attention(h, h, h)
