"""What training looks at while it runs: figures of a few validation faces, and a sheet of pictures."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .config import Config
from .data import load_face, to_tensor
from .degrade import Degradation, degrade
from .evaluate import spread, table
from .measures import psnr
from .restorers import noise_for
from .model import PLTrans

FACTORS = (0, 1, 2, 4, 8, 32)  # 0 = near-clean
SHEET = (2.0, 8.0, 32.0)


def restorer(model: PLTrans) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """model.forward for tensors on the CPU, wherever the model is."""
    device = model.grid.device
    return lambda x, noise, steps: model(x.to(device), noise.to(device), steps.to(device)).cpu()


@torch.no_grad()
def rebuilt(model: PLTrans, y: Tensor) -> Tensor:
    """Clear faces through stage 1's autoencoder: what the latents can hold."""
    q = model.E(y.to(model.grid.device))
    return model.G(model.latent(q, model.maps.encode(q)[0]), None).clamp(-1, 1).cpu()


def picture(x: Tensor, side: int = 256) -> Image.Image:
    pixels = ((x[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.LANCZOS)


def grid(rows: Sequence[Sequence[Tensor]]) -> Image.Image:
    """Pictures of [1,3,S,S] in rows and columns."""
    tiles = [[np.asarray(picture(x)) for x in row] for row in rows]
    return Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in tiles], 0))


@torch.no_grad()
def sheet(model: PLTrans, files: Sequence[Path], stage: str) -> Image.Image:
    """Stages prior and diffusion: the face and its reconstruction; later: degraded, 0 steps, 8 steps, truth."""
    rows: List[List[Tensor]] = []
    for i, path in enumerate(files):
        clear = load_face(path, model.cfg.size)
        y = to_tensor([clear])
        if stage in ("prior", "diffusion"):
            rows.append([y, rebuilt(model, y)])
            continue
        x = to_tensor([degrade(clear, Degradation(1.5, SHEET[i % len(SHEET)], 4.0, 75, i))])
        noise, run = noise_for(path.name, model.cfg), restorer(model)
        rows.append([x, run(x, noise, torch.tensor([0])), run(x, noise, torch.tensor([8])), y])
    return grid(rows)


def validation(folder: Path, cfg: Config, count: int = 8) -> Callable[[PLTrans, str], Tuple[List[Dict[str, Any]], Image.Image]]:
    """A function of model and stage: rows of figures (PSNR of the reconstruction in stages prior and diffusion, else
    `evaluate.table` at 0 and 8 steps), and a sheet of six faces."""
    files = spread(folder, count)

    @torch.no_grad()
    def look(model: PLTrans, stage: str) -> Tuple[List[Dict[str, Any]], Image.Image]:
        if stage in ("prior", "diffusion"):
            clear = [to_tensor([load_face(path, cfg.size)]) for path in files]
            rows = [{"n": len(files), "psnr": round(float(np.mean([psnr(rebuilt(model, y), y) for y in clear])), 3)}]
        else:
            rows = table(restorer(model), cfg, files, FACTORS, (0, 8))
        return rows, sheet(model, files[:6], stage)

    return look
