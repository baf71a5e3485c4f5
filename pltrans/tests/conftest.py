"""Faces for the tests: drawn, or from the samples that set-up fetches."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from pltrans.config import Config, tiny
from pltrans.model import PLTrans

ROOT = Path(__file__).resolve().parents[2]


def drawn_face(seed: int, size: int) -> Image.Image:
    """A crude face in random colours: enough structure to learn a blur from."""
    rng = np.random.default_rng(seed)
    colour = [tuple(int(v) for v in rng.integers(20, 235, 3)) for _ in range(4)]
    image = Image.new("RGB", (size, size), colour[0])
    pen, s = ImageDraw.Draw(image), size / 512
    pen.ellipse([90 * s, 40 * s, 420 * s, 480 * s], fill=colour[1])
    for x in (193, 319):
        pen.ellipse([(x - 35) * s, 220 * s, (x + 35) * s, 260 * s], fill="white")
        pen.ellipse([(x - 15) * s, 225 * s, (x + 15) * s, 255 * s], fill=colour[2])
    pen.line([256 * s, 240 * s, 256 * s, 320 * s], fill=colour[3], width=max(1, int(10 * s)))
    pen.ellipse([200 * s, 350 * s, 312 * s, 390 * s], fill=colour[3])
    return image.filter(ImageFilter.GaussianBlur(0.5))


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder of six drawn 64x64 faces, two of them in a set that manifest.csv calls photographs."""
    folder = tmp_path / "faces"
    lines = ["path,set,kind,licence,origin,split"]
    for i in range(6):
        kind = "photo" if i < 2 else "made"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        drawn_face(i, 64).save(folder / kind / f"{i}.png")
        lines.append(f"{kind}/{i}.png,{kind},{'photograph' if i < 2 else 'generated'},CC0-1.0,test,train")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def network() -> PLTrans:
    """A tiny network whose residual is not zero."""
    model = PLTrans(tiny()).eval()
    torch.nn.init.normal_(model.G.residual.weight, 0, 0.05)
    return model


@pytest.fixture
def config() -> Config:
    return tiny()
