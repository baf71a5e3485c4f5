"""PLTrans: E, E_Q, D_Q, the prior-based key and value, the transformer, G and the gate."""
from __future__ import annotations

from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Attention, GroupNorm, NormBlock, PlainBlock, SelfAttention, bands, conv3, up
from .config import Config
from .diffusion import Epsilon, add_noise, alphas_cumprod, reverse_step

LUMA = (0.299, 0.587, 0.114)
CHROMA_FLOOR = 0.01  # rms chroma (range -1..1) under which an input counts as partly, at 0 wholly, black-and-white
LARGE_SCALE = 128  # pixels: the residual has no content this large, so colour and brightness stay the input's


def stage(channels: int, count: int, coarse: bool) -> nn.Sequential:
    return nn.Sequential(*[NormBlock(channels, channels) if coarse else PlainBlock(channels) for _ in range(count)])


class Encoder(nn.Module):
    """E: x [n,3,S,S] -> q [n,C,16,16] (section 3.1). Returns the levels' features too, fine to coarse."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        c = cfg.channels
        self.unshuffle = nn.PixelUnshuffle(cfg.unshuffle)
        self.first = conv3(3 * cfg.unshuffle ** 2, c[0])
        self.stages = nn.ModuleList(stage(w, n, i + 1 == len(c)) for i, (w, n) in enumerate(zip(c, cfg.enc_blocks)))
        self.downs = nn.ModuleList(conv3(c[i], c[i + 1], stride=2) for i in range(len(c) - 1))
        self.position = nn.Parameter(torch.randn(1, c[-1], cfg.side, cfg.side) * 0.02)
        self.attention = SelfAttention(c[-1], cfg.heads, cfg.side)
        self.norm, self.last = GroupNorm(c[-1]), conv3(c[-1], c[-1])

    def features(self, x: Tensor) -> List[Tensor]:
        h = F.leaky_relu(self.first(self.unshuffle(x)), 0.2)
        levels = []
        for i, blocks in enumerate(self.stages):
            h = blocks(h)
            levels.append(h)
            if i < len(self.downs):
                h = F.leaky_relu(self.downs[i](h), 0.2)
        h = self.attention(h + self.position)
        return levels + [self.last(F.silu(self.norm(h)))]

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]


class FineBranch(nn.Module):
    """The skips of G, made from pre-whitened bands of x: noise and detail at the size of content.

    Returns one feature map per level of `cfg.fine_blocks` and the bands' mean energies [n, 4].
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        c, r = cfg.channels, cfg.unshuffle
        self.r = r
        self.unshuffle = nn.PixelUnshuffle(r)
        self.first = conv3(3 * r * r + 9, c[0])
        self.stages = nn.ModuleList(stage(c[i], n, False) for i, n in enumerate(cfg.fine_blocks))
        self.downs = nn.ModuleList(conv3(c[i], c[i + 1], stride=2) for i in range(len(cfg.fine_blocks) - 1))

    def forward(self, x: Tensor) -> Tuple[List[Tensor], Tensor]:
        fine, middle, coarse, mean = bands(x, self.r)
        h = torch.cat([self.unshuffle(fine), middle, up(coarse, 4), mean], 1)
        h = F.leaky_relu(self.first(h), 0.2)
        skips = []
        for i, blocks in enumerate(self.stages):
            h = blocks(h)
            skips.append(h)
            if i < len(self.downs):
                h = F.leaky_relu(self.downs[i](h), 0.2)
        energy = torch.stack([(b * b).mean((1, 2, 3)) for b in (fine, middle, coarse, mean)], 1)
        return skips, energy


class LatentMap(nn.Module):
    """E_Q: q -> (mean, log variance) of u [n,16,16,16], and D_Q: u -> q-hat (section 3.2, Eq. 2-3)."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        c = cfg.channels[-1]
        self.enc_block, self.enc_out = NormBlock(c, c), nn.Conv2d(c, 2 * cfg.latent, 1)
        self.dec_in, self.dec_block = conv3(cfg.latent, c), NormBlock(c, c)
        self.register_buffer("std", torch.ones(1))  # u is divided by its deviation over clear faces

    def encode(self, q: Tensor) -> Tuple[Tensor, Tensor]:
        mean, logvar = self.enc_out(self.enc_block(q)).float().chunk(2, 1)
        return mean / self.std, logvar.clamp(-12, 4)

    def decode(self, u: Tensor) -> Tensor:
        return self.dec_block(self.dec_in(u * self.std))


class PriorKeyValue(nn.Module):
    """z, the dictionary V, top-d retrieval (Eq. 5), the mapping r (Eq. 6), and Phi -> k, v (Eq. 7)."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        c = cfg.channels[-1]
        self.top_d, self.side, self.c = cfg.top_d, cfg.side, c
        self.use_phi = cfg.use_phi
        self.conv, self.attention = conv3(c, c), SelfAttention(c, cfg.heads, cfg.side)
        self.to_z = nn.Conv2d(c, c, 1)
        self.register_buffer("V", torch.randn(cfg.codes, c))
        self.r = nn.Parameter(torch.linspace(2.0, -1.0, cfg.top_d))
        self.phi_norm_e, self.phi_norm_z = GroupNorm(c), GroupNorm(c)
        self.phi_attention = Attention(c, cfg.heads, cfg.side)
        self.ffn = nn.Sequential(GroupNorm(c), nn.Conv2d(c, 2 * c, 1), nn.SiLU(), nn.Conv2d(2 * c, 2 * c, 1))

    def features(self, q: Tensor) -> Tensor:
        """z [n,C,16,16]."""
        return self.to_z(self.attention(self.conv(q))).float()

    def retrieve(self, z: Tensor) -> Tuple[Tensor, Tensor]:
        """Eq. 5 and 6: z-tilde [n,C,16,16] and the index of the nearest element of V per place [n*256]."""
        rows = z.permute(0, 2, 3, 1).reshape(-1, self.c)
        distance = (self.V * self.V).sum(1) - 2 * torch.matmul(rows, self.V.t())
        index = torch.topk(distance, self.top_d, dim=1, largest=False)[1]
        e = F.embedding(index, self.V)
        mixed = (e * self.r.float().softmax(0)[None, :, None]).sum(1)
        return mixed.reshape(-1, self.side, self.side, self.c).permute(0, 3, 1, 2), index[:, 0]

    def forward(self, z: Tensor, tilde: Tensor) -> Tuple[Tensor, Tensor]:
        """k and v [n,C,16,16] (Eq. 7)."""
        if not self.use_phi:
            return tilde, tilde
        ze = self.phi_norm_z(z)
        h = tilde + self.phi_attention(self.phi_norm_e(tilde), ze, ze)
        dk, dv = self.ffn(h).float().chunk(2, 1)
        return tilde + dk, tilde + dv


class Transformer(nn.Module):
    """z-hat of Eq. 8-9 from q-hat, k and v; W q-hat is added so that the diffusion's result is carried on."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        c = cfg.channels[-1]
        self.carry = nn.Conv2d(c, c, 1)
        self.norm_q = nn.ModuleList(GroupNorm(c) for _ in range(cfg.cross_blocks))
        self.blocks = nn.ModuleList(Attention(c, cfg.heads, cfg.side, kernel=3) for _ in range(cfg.cross_blocks))

    def forward(self, query: Tensor, k: Tensor, v: Tensor) -> Tensor:
        h = query
        for i, block in enumerate(self.blocks):
            h = block(self.norm_q[i](h), k, v) + k
        return h + self.carry(query)


class Decoder(nn.Module):
    """G: z-hat [n,C,16,16] (and the skips) -> the residual [n,3,S,S], or a whole image in stage 1."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        c = cfg.channels
        self.levels = len(c)
        self.first, self.attention = conv3(c[-1], c[-1]), SelfAttention(c[-1], cfg.heads, cfg.side)
        self.stages = nn.ModuleList(stage(w, n, i + 1 == len(c)) for i, (w, n) in enumerate(zip(c, cfg.dec_blocks)))
        self.ups = nn.ModuleList(nn.Conv2d(c[i + 1], 4 * c[i], 1) for i in range(len(c) - 1))
        self.fuse = nn.ModuleList(nn.Conv2d(c[i], c[i], 1) for i in range(len(cfg.fine_blocks)))
        rgb = 3 * cfg.unshuffle ** 2
        self.residual, self.whole = conv3(c[0], rgb), conv3(c[0], rgb)
        nn.init.zeros_(self.residual.weight)
        self.shuffle = nn.PixelShuffle(cfg.unshuffle)

    def forward(self, z: Tensor, skips: Optional[List[Tensor]]) -> Tensor:
        h = self.attention(self.first(z))
        for i in reversed(range(self.levels)):
            if i + 1 < self.levels:
                h = F.leaky_relu(F.pixel_shuffle(self.ups[i](h), 2), 0.2)
            if skips is not None and i < len(skips):
                h = h + self.fuse[i](skips[i])
            h = self.stages[i](h)
        head = self.whole if skips is None else self.residual
        return self.shuffle(head(h).float())


class Gate(nn.Module):
    """g in [0, 1.5]: how much of the residual is worth adding; closes on faces that are good already."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        n = 4 + 3 + sum(cfg.channels[:len(cfg.fine_blocks)]) + cfg.channels[-1]
        self.net = nn.Sequential(nn.Linear(n, 64), nn.SiLU(), nn.Linear(64, 1))
        nn.init.zeros_(self.net[2].weight)
        nn.init.constant_(self.net[2].bias, 0.7)  # 1.5 sigmoid(0.7) = 1.0

    def stats(self, energy: Tensor, skips: List[Tensor], q: Tensor, residual: Tensor) -> Tensor:
        """What the gate sees [n, numbers]: energies of the input's and the residual's bands, sizes of skips and q."""
        fine = residual - up(F.avg_pool2d(residual, 4), 4)
        middle = F.avg_pool2d(residual, 4)
        own = torch.stack([(b * b).mean((1, 2, 3)) for b in (fine, middle, F.avg_pool2d(residual, 16))], 1)
        logs = torch.log(torch.cat([energy, own * 64], 1) + 1e-6) * 0.3
        return torch.cat([logs] + [s.float().abs().mean((2, 3)) for s in skips] + [q.float().abs().mean((2, 3))], 1)

    def forward(self, energy: Tensor, skips: List[Tensor], q: Tensor, residual: Tensor) -> Tensor:
        return 1.5 * torch.sigmoid(self.net(self.stats(energy, skips, q, residual)).float())


class PLTrans(nn.Module):
    """The whole network; see `forward` for inference. Images are RGB in [-1, 1], [n,3,size,size]."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.E, self.fine = Encoder(cfg), FineBranch(cfg)
        self.maps, self.eps = LatentMap(cfg), Epsilon(cfg)
        self.prior, self.transformer = PriorKeyValue(cfg), Transformer(cfg)
        self.G, self.gate = Decoder(cfg), Gate(cfg)
        bars = alphas_cumprod(cfg)
        self.register_buffer("bars", bars)
        self.register_buffer("grid", bars[:cfg.stride * cfg.max_steps + 1:cfg.stride].clone())

    def noised(self, u_lq: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """u_n of the n-step perturbation; with steps = 0 it is u_lq."""
        return add_noise(u_lq, noise, self.grid[steps].reshape(-1, 1, 1, 1))

    def step(self, u: Tensor, u_lq: Tensor, noise: Tensor, left: Tensor) -> Tensor:
        """One reverse step for the samples whose `left` (steps still to go, [n]) is positive."""
        moved = reverse_step(self.eps, u, u_lq, noise, left.clamp(min=1), self.grid, self.cfg.stride,
                             self.cfg.use_dwt)
        return torch.where(left.reshape(-1, 1, 1, 1) > 0, moved, u)

    def latent(self, q: Tensor, u: Tensor) -> Tensor:
        """z-hat from q and a (regularised) u: Eq. 5-9."""
        z = self.prior.features(q)
        tilde = self.prior.retrieve(z)[0] if self.cfg.use_dictionary else z
        k, v = self.prior(z, tilde)
        return self.transformer(self.maps.decode(u), k, v)

    def residual(self, x: Tensor, q: Tensor, u: Tensor, skips: List[Tensor]) -> Tensor:
        """The residual: no content at large scale, and no colour where the input has none."""
        delta = self.G(self.latent(q, u), skips)
        scale = min(LARGE_SCALE, self.cfg.size // 4)
        delta = delta - up(F.avg_pool2d(delta, scale), scale)
        luma = x.new_tensor(LUMA).reshape(1, 3, 1, 1)
        chroma = x - (x * luma).sum(1, keepdim=True)
        kept = ((chroma * chroma).mean((1, 2, 3)).sqrt() / CHROMA_FLOOR).clamp(max=1.0).reshape(-1, 1, 1, 1)
        gray = (delta * luma).sum(1, keepdim=True)
        return gray + kept * (delta - gray)

    def encode(self, x: Tensor) -> Tuple[Tensor, Tensor, List[Tensor], Tensor]:
        """q, u_lq, the skips and the band energies of x."""
        q = self.E(x)
        u_lq, _ = self.maps.encode(q)
        skips, energy = self.fine(x)
        return q, u_lq, skips, energy

    def decode(self, x: Tensor, q: Tensor, u: Tensor, skips: List[Tensor], energy: Tensor) -> Tensor:
        """The restored image clip(x + g * residual)."""
        delta = self.residual(x, q, u, skips)
        g = self.gate(energy, skips, q, delta).reshape(-1, 1, 1, 1)
        return (x + g * delta).clamp(-1, 1)

    def forward(self, x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Restore x; noise [n,latent,16,16] ~ N(0,1) and steps [n] (int64, 0..max_steps) fix the result."""
        q, u_lq, skips, energy = self.encode(x)
        if not self.cfg.use_diffusion:
            steps = torch.zeros_like(steps)
        u = self.noised(u_lq, noise, steps)
        for i in range(int(steps.max())):
            u = self.step(u, u_lq, noise, steps - i)
        return self.decode(x, q, u, skips, energy)
