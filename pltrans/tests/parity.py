"""The other side of restore/parity_test.go: python -m pltrans.tests.parity DIR

Reads DIR/image.f32 (planar RGB in [0, 1], 64x64) and DIR/noise.f32, writes DIR/tiny.onnx and what PyTorch makes of
them at 0 and 5 steps, DIR/torch-0.f32 and DIR/torch-5.f32 (planar RGB in [0, 1]).
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from pltrans.config import tiny
from pltrans.export import export
from pltrans.model import PLTrans


def main(folder: Path) -> None:
    torch.manual_seed(0)
    cfg = tiny()
    model = PLTrans(cfg).eval()
    torch.nn.init.normal_(model.G.residual.weight, 0, 0.05)
    (folder / "tiny.onnx").write_bytes(export(model, {}, half=False))
    image = torch.from_numpy(np.fromfile(folder / "image.f32", np.float32)).reshape(1, 3, cfg.size, cfg.size) * 2 - 1
    noise = torch.from_numpy(np.fromfile(folder / "noise.f32", np.float32)).reshape(1, cfg.latent, cfg.side, cfg.side)
    for steps in (0, 5):
        with torch.no_grad():
            out = model(image, noise, torch.tensor([steps]))
        ((out + 1) / 2).numpy().astype(np.float32).tofile(folder / f"torch-{steps}.f32")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
