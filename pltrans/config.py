"""One typed configuration; it is saved inside every checkpoint and rebuilds its network."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Tuple


@dataclass(frozen=True)
class Config:
    """Size S of PLTrans: sizes of the network, then how it is trained. All faces are `size` x `size`."""

    # network
    size: int = 512
    unshuffle: int = 4  # E and the fine branch start at size/unshuffle
    channels: Tuple[int, ...] = (48, 64, 128, 160)  # per level, fine to coarse; the last is C at 16x16
    enc_blocks: Tuple[int, ...] = (0, 1, 3, 2)
    fine_blocks: Tuple[int, ...] = (1, 2)  # levels that have a skip to G; none below (PLTRANS.md, finding 1)
    dec_blocks: Tuple[int, ...] = (2, 2, 2, 2)  # per level, fine to coarse like `channels`
    heads: int = 5
    latent: int = 16  # channels of u
    codes: int = 512  # elements of the dictionary V
    top_d: int = 8  # d of Eq. 5
    eps_widths: Tuple[int, ...] = (48, 96, 96)
    time_dim: int = 192
    cross_blocks: int = 2
    # ablations of the paper's Table 1
    use_dictionary: bool = True  # V: without it z takes the place of z-tilde
    use_diffusion: bool = True  # DIFF: without it u-hat_0 is u_lq
    use_phi: bool = True  # LT, the lightweight transformer of Eq. 7: without it k = v = z-tilde
    use_dwt: bool = True  # DWT: without it no low band of u_lq is injected (Eq. 1)
    # diffusion
    timesteps: int = 1000
    beta_first: float = 0.00085
    beta_last: float = 0.012
    stride: int = 20  # t = stride * step
    max_steps: int = 12
    # degradation (Eq. 13) in training
    b_low: float = 0.8
    b_high: float = 32.0
    b_mild: float = 8.0  # `p_mild` of the samples have b <= b_mild
    p_mild: float = 0.7
    p_clean: float = 0.15  # near-clean samples, so that good faces are left alone
    p_gray: float = 0.1
    p_real: float = 0.45  # share of photographs, the rest is machine-generated
    p_old: float = 0.2  # faces that also get film grain, scratches, halftone, fading or video blocks (beyond Eq. 13)
    # losses
    kl: float = 5e-3
    commit: float = 0.25
    gradient: float = 0.5
    feature: float = 0.1
    query: float = 0.1
    latent_match: float = 0.1  # |u-hat_0 - u_hq|^2: trains epsilon_theta on latents of degraded faces
    diffusion: float = 0.2
    gate_harm: float = 2.0  # weight of getting worse against getting better
    # training
    seed: int = 2024
    batch: int = 4
    ema: float = 0.995
    clip: float = 1.0

    @property
    def side(self) -> int:
        """Side of the coarsest grid, where q, u and z live."""
        return self.size // self.unshuffle >> (len(self.channels) - 1)

    def to_dict(self) -> Dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Dict[str, Any]) -> "Config":
        return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def size_s() -> Config:
    """The size that is trained here and shipped."""
    return Config()


def tiny() -> Config:
    """A network for tests: the same parts, 64 x 64 faces, a few milliseconds a pass."""
    return Config(size=64, channels=(8, 16, 20), enc_blocks=(0, 1, 1), fine_blocks=(1, 1), dec_blocks=(1, 1, 1),
                  heads=2, latent=4, codes=16, top_d=4, eps_widths=(16, 16), time_dim=16, batch=2)
