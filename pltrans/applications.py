"""What else the latents are good for (section 4.6 of the paper), as sheets of pictures.

    python -m pltrans.applications sample        --model RUN/diffusion.pt --out sample.jpg
    python -m pltrans.applications interpolate   --model RUN/diffusion.pt --out between.jpg A.png B.png
    python -m pltrans.applications edit          --model RUN/diffusion.pt --out edit.jpg A.png B.png
    python -m pltrans.applications out-of-domain --model RUN/restore.pt   --out others.jpg DRAWING.png ...

The first three decode u by the autoencoder of stage 1 (without skips, so what u doesn't hold isn't there); the last
restores. Faces are aligned 512x512 ones (`restored align`).
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import torch
from PIL import Image
from torch import Tensor

from .data import load_face, to_tensor
from .diffusion import add_noise, predict_u0
from .evaluate import sheet, spread
from .model import PLTrans
from .recover import fit_whole
from .restorers import noise_for
from .train import load_model

FIT_FACES = 48  # that stage 1's head is fitted on, with --fit
# Rows and columns of the 16x16 grid of u (32 pixels each) that hold a part of a face in the ffhq_512 crop.
REGIONS: Dict[str, Tuple[slice, slice]] = {
    "eyes": (slice(6, 9), slice(4, 12)),
    "nose": (slice(8, 11), slice(6, 10)),
    "mouth": (slice(10, 13), slice(5, 11)),
}


def latent_of(model: PLTrans, y: Tensor) -> Tensor:
    """u of a clear face."""
    return model.maps.encode(model.E(y))[0]


def decoded(model: PLTrans, u: Tensor) -> Tensor:
    """The image of u alone: q-hat takes the place of q in the prior-based key and value."""
    return model.G(model.latent(model.maps.decode(u), u), None).clamp(-1, 1)


def sampled(model: PLTrans, noise: Tensor, count: int = 50) -> Tensor:
    """u from noise [n,latent,16,16]: DDIM (eta = 0) over all of T in `count` steps, without Eq. 1."""
    times = torch.linspace(model.cfg.timesteps, 0, count + 1).long()
    u = noise
    for now, then in zip(times[:-1], times[1:]):
        bar, low = (model.bars[t].reshape(1, 1, 1, 1) for t in (now, then))
        eps = model.eps(u, now.float().expand(len(u))).float()
        u = add_noise(predict_u0(u, eps, bar).clamp(-4, 4), eps, low)
    return u


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation of two latents: their size stays that of a latent."""
    angle = torch.acos((torch.sum(a * b) / (a.norm() * b.norm())).clamp(-1, 1))
    if float(angle) < 1e-4:
        return a + share * (b - a)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def swapped(a: Tensor, b: Tensor, part: str) -> Tensor:
    """u of a with a part of the face from b."""
    rows, columns = REGIONS[part]
    u = a.clone()
    u[..., rows, columns] = b[..., rows, columns]
    return u


@torch.no_grad()
def draw(task: str, model: PLTrans, files: Sequence[Path], seed: int) -> Image.Image:
    """The sheet of a task."""
    faces = [to_tensor([load_face(path, model.cfg.size)]) for path in files]
    if task == "sample":
        noise = torch.randn(12, model.cfg.latent, model.cfg.side, model.cfg.side,
                            generator=torch.Generator().manual_seed(seed))
        made = decoded(model, sampled(model, noise)).split(1)
        return sheet([made[i:i + 6] for i in (0, 6)], [f"sample {i + 1}" for i in range(6)])
    if task == "out-of-domain":
        steps = (0, 4, 8)
        rows: List[List[Tensor]] = []
        for x, path in zip(faces, files):
            noise = noise_for(path.name, model.cfg)
            rows.append([x] + [model(x, noise, torch.tensor([n])) for n in steps])
        return sheet(rows, ["input"] + [f"{n} steps" for n in steps])
    a, b = (latent_of(model, y) for y in faces)
    if task == "interpolate":
        shares = [i / 6 for i in range(7)]
        row = [decoded(model, between(a, b, s)) for s in shares]
        return sheet([[faces[0], *row, faces[1]]], ["A", *(f"{s:.2f}" for s in shares), "B"])
    row = [decoded(model, u) for u in (a, b, *(swapped(a, b, part) for part in REGIONS))]
    return sheet([[*faces, *row]], ["A", "B", "A decoded", "B decoded", *(f"A with B's {part}" for part in REGIONS)])


def main() -> None:
    p = argparse.ArgumentParser(description="Applications of the latents (section 4.6 of the paper).")
    p.add_argument("task", choices=("sample", "interpolate", "edit", "out-of-domain"))
    p.add_argument("faces", type=Path, nargs="*")
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--fit", type=Path, help="clear faces to fit stage 1's head on: weights from an exported file have none")
    a = p.parse_intermixed_args()  # faces may stand behind the options
    wanted = {"sample": len(a.faces) == 0, "out-of-domain": len(a.faces) > 0}.get(a.task, len(a.faces) == 2)
    if not wanted:
        p.error(f"{a.task} takes {'no faces' if a.task == 'sample' else 'one face or more' if a.task == 'out-of-domain' else 'two faces'}")
    model = load_model(a.model)
    if a.fit:
        fit_whole(model, (to_tensor([load_face(path, model.cfg.size)]) for path in spread(a.fit, FIT_FACES)))
    draw(a.task, model, a.faces, a.seed).save(a.out, quality=90)
    print(a.out)


if __name__ == "__main__":
    main()
