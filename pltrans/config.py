"""One typed configuration; it is saved inside every checkpoint and rebuilds its network."""
from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Tuple


@dataclass(frozen=True)
class Config:
    """Sizes of the network (size S unless changed), then how it is trained. All faces are `size` x `size`."""

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
    b_high: float = 64.0
    b_mild: float = 8.0  # `p_mild` of the samples have b <= b_mild
    p_mild: float = 0.65
    p_clean: float = 0.15  # near-clean samples, so that good faces are left alone
    p_gray: float = 0.1
    p_real: float = 0.45  # share of photographs, the rest is machine-generated
    p_old: float = 0.2  # faces that also get film grain, scratches, halftone, fading or video blocks (beyond Eq. 13)
    # losses
    kl: float = 5e-3
    commit: float = 0.25
    gradient: float = 0.5
    structure: float = 0.2  # 1 - SSIM, relative to the input's
    feature: float = 0.1
    perceptual: float = 0.1  # dlib's features (phi of Eq. 10), where its network is given
    identity: float = 0.15  # distance of dlib's descriptors to the truth, relative to the input's
    query: float = 0.1
    latent_match: float = 1.0  # |u_lq - u_hq|^2 of mild faces: u stays that of the teacher
    regularise: float = 1.0  # |u-hat_0 - u_hq|^2: trains epsilon_theta on latents of degraded faces
    diffusion: float = 0.2
    gate_harm: float = 4.0  # weight of getting worse against getting better
    adversarial: float = 0.02  # Eq. 11 in the hinge form, stage finish: two thirds of the other losses' gradient at the pixels
    matching: float = 0.1  # L1 of the discriminator's features, stage finish
    disc_channels: Tuple[int, ...] = (64, 96, 128)  # of D, from size/unshuffle down
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
        """The configuration of a checkpoint; fields that it is older than have their defaults."""
        return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def network(self) -> Dict[str, Any]:
        """The fields that shape the network: a checkpoint only fits a configuration that agrees in them."""
        return {k: v for k, v in self.to_dict().items() if k in NETWORK}


NETWORK = frozenset(
    "size unshuffle channels enc_blocks fine_blocks dec_blocks heads latent codes top_d eps_widths time_dim cross_blocks "
    "timesteps beta_first beta_last stride max_steps use_dictionary use_diffusion use_phi use_dwt".split())


def size_s() -> Config:
    """The size that is trained here and shipped: 9.3 million parameters."""
    return Config()


def size_b() -> Config:
    """A size like the paper's, for GPUs: 1,024 codes, u [32,16,16], 256 channels at 16x16."""
    return Config(unshuffle=2, channels=(64, 128, 192, 256, 256), enc_blocks=(1, 2, 2, 2, 3), fine_blocks=(1, 2),
                  dec_blocks=(2, 2, 2, 3, 3), heads=8, latent=32, codes=1024, eps_widths=(128, 256, 256), time_dim=512,
                  disc_channels=(64, 128, 256, 256))


SIZES = {"s": size_s, "b": size_b}
STAGES = ("prior", "diffusion", "restore", "finish")
RATES = {"prior": 1e-3, "diffusion": 1e-3, "restore": 5e-4, "finish": 3e-4}  # learning rates


@dataclass(frozen=True)
class Plan:
    """How long a stage is trained and how fast. One of minutes and steps may be 0."""

    minutes: float = 0.0
    steps: int = 0
    lr: float = 0.0


def read_plan(path: Path) -> Tuple[Config, Dict[str, Plan]]:
    """A TOML file: `size` (s or b), a table [config] with fields of Config, and a table per stage with minutes or
    steps and lr. Unknown names are errors."""
    with open(path, "rb") as handle:
        values = tomllib.load(handle)
    size, fields = values.pop("size", "s"), values.pop("config", {})
    if size not in SIZES:
        raise ValueError(f"{path}: size {size!r} is none of {', '.join(SIZES)}")
    known = {f.name for f in dataclasses.fields(Config)}
    for name in [k for k in fields if k not in known] + [k for k in values if k not in STAGES]:
        raise ValueError(f"{path}: {name!r} is neither a field of Config nor a stage ({', '.join(STAGES)})")
    cfg = dataclasses.replace(SIZES[size](), **{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    try:
        plans = {name: Plan(**table) for name, table in values.items()}
    except TypeError as error:
        raise ValueError(f"{path}: a stage has minutes, steps and lr ({error})") from None
    return cfg, {name: dataclasses.replace(plan, lr=plan.lr or RATES[name]) for name, plan in plans.items()}


def tiny() -> Config:
    """A network for tests: the same parts, 64 x 64 faces, a few milliseconds a pass."""
    return Config(size=64, channels=(8, 16, 20), enc_blocks=(0, 1, 1), fine_blocks=(1, 1), dec_blocks=(1, 1, 1),
                  heads=2, latent=4, codes=16, top_d=4, eps_widths=(16, 16), time_dim=16, batch=2, disc_channels=(8, 12))
