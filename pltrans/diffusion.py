"""Latent diffusion: epsilon_theta (Eq. 4), the schedule, and the Haar swap of Eq. 1."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import GroupNorm, NormBlock, SelfAttention, conv3
from .config import Config


def alphas_cumprod(cfg: Config) -> Tensor:
    """alpha-bar_t for t = 0..T, alpha-bar_0 = 1; scaled-linear betas (as latent-diffusion's)."""
    root = torch.linspace(cfg.beta_first ** 0.5, cfg.beta_last ** 0.5, cfg.timesteps, dtype=torch.float64)
    bars = torch.cumprod(1 - root ** 2, 0)
    return torch.cat([torch.ones(1, dtype=torch.float64), bars]).float()


def haar_swap(u: Tensor, u_lq: Tensor) -> Tensor:
    """Eq. 1 with a one-level Haar transform: the low band of `u_lq`, the three high bands of `u`.

    The Haar low band is the 2x2 mean (times 2), so DWT, swap and inverse DWT are one addition.
    """
    return u + F.interpolate(F.avg_pool2d(u_lq - u, 2), scale_factor=2.0, mode="nearest")


def add_noise(u0: Tensor, noise: Tensor, bar: Tensor) -> Tensor:
    """u_t = sqrt(bar) u_0 + sqrt(1 - bar) noise; bar is [n, 1, 1, 1]."""
    return bar.sqrt() * u0 + (1 - bar).sqrt() * noise


def predict_u0(u_t: Tensor, eps: Tensor, bar: Tensor) -> Tensor:
    """The direct estimate of u_0 from u_t and the predicted noise."""
    return (u_t - (1 - bar).sqrt() * eps) / bar.sqrt()


class Epsilon(nn.Module):
    """epsilon_theta of Eq. 4: a small U-net over u_t [n, latent, side, side], FiLM by t [n] (float)."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        w, dim = cfg.eps_widths, cfg.time_dim
        half = dim // 2
        freqs = torch.exp(-math.log(10000.0) * torch.arange(half).float() / half)
        self.register_buffer("freqs", freqs[None])
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())
        self.first = conv3(cfg.latent, w[0])
        self.down_blocks, self.down_attn, self.downs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.up_blocks, self.up_attn, self.ups = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(w):
            side = cfg.side >> i
            attn = i > 0  # at 8 and 4
            self.down_blocks.append(NormBlock(width, width, dim))
            self.down_attn.append(SelfAttention(width, 4, side) if attn else nn.Identity())
            self.up_blocks.append(NormBlock(2 * width, width, dim))
            self.up_attn.append(SelfAttention(width, 4, side) if attn else nn.Identity())
            if i + 1 < len(w):
                self.downs.append(conv3(width, w[i + 1], stride=2))
                self.ups.append(nn.Conv2d(w[i + 1], width, 1))
        last = w[-1]
        self.mid1, self.mid2 = NormBlock(last, last, dim), NormBlock(last, last, dim)
        self.mid_attn = SelfAttention(last, 4, cfg.side >> (len(w) - 1))
        self.norm, self.last = GroupNorm(w[0]), conv3(w[0], cfg.latent, gain=0.1)

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * self.freqs
        emb = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        h, kept = self.first(u), []
        for i, block in enumerate(self.down_blocks):
            h = self.down_attn[i](block(h, emb))
            kept.append(h)
            if i < len(self.downs):
                h = self.downs[i](h)
        h = self.mid2(self.mid_attn(self.mid1(h, emb)), emb)
        for i in reversed(range(len(self.up_blocks))):
            if i < len(self.ups):
                h = self.ups[i](F.interpolate(h.float(), scale_factor=2.0, mode="nearest"))
            h = self.up_attn[i](self.up_blocks[i](torch.cat([h.float(), kept[i].float()], 1), emb))
        return self.last(F.silu(self.norm(h)))


def reverse_step(eps_net: nn.Module, u: Tensor, u_lq: Tensor, noise: Tensor, k: Tensor,
                 bars: Tensor, stride: int, dwt: bool = True) -> Tensor:
    """One deterministic (DDIM, eta = 0) step from grid point k [n] (int64, >= 1) to k - 1, then Eq. 1.

    At k = 1 the step is the direct estimate of u_0. Eq. 1 belongs to the intermediate steps: swapping the final
    estimate too would give back the degraded low band, whatever the diffusion made of it.
    `bars` holds alpha-bar at the grid points 0..max_steps.
    """
    bar = bars[k].reshape(-1, 1, 1, 1)
    low = bars[k - 1].reshape(-1, 1, 1, 1)
    eps = eps_net(u, k.to(u.dtype) * stride).to(u.dtype)
    moved = add_noise(predict_u0(u, eps, bar), eps, low)
    if not dwt:
        return moved
    return torch.where((k > 1).reshape(-1, 1, 1, 1), haar_swap(moved, add_noise(u_lq, noise, low)), moved)
