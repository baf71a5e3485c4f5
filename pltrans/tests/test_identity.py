"""dlib's network in PyTorch tells people apart as dlib's own does (its limit for one person is 0.6)."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pltrans.data import to_tensor
from pltrans.degrade import Degradation, degrade
from pltrans.identity import Identity, parameters

DEPS = Path(__file__).resolve().parents[2] / ".deps"
MODEL = DEPS / "models" / "dlib_face_recognition_resnet_model_v1.dat"
TEMPLATE = np.array([(193.0, 239.9), (318.9, 240.2), (256.6, 314.0), (201.3, 371.4), (313.1, 371.2)])
# eyes, nose tip, mouth corners, read off the samples by hand
PLACES = {"obama.jpg": [(442, 215), (550, 213), (495, 267), (443, 322), (545, 320)],
          "obama2.jpg": [(253, 371), (361, 378), (306, 455), (248, 522), (349, 522)],
          "biden.jpg": [(532, 322), (652, 347), (595, 390), (520, 458), (622, 475)]}


def crop(name: str) -> np.ndarray:
    """The sample's face aligned to 512x512."""
    rows = [[x, -y, 1, 0] for x, y in TEMPLATE] + [[y, x, 0, 1] for x, y in TEMPLATE]
    places = np.array(PLACES[name])
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.concatenate([places[:, 0], places[:, 1]]), rcond=None)[0]
    image = Image.open(DEPS / "samples" / name).convert("RGB")
    return np.asarray(image.transform((512, 512), Image.AFFINE, (a, -b, tx, b, a, ty), Image.BILINEAR))


@pytest.fixture(scope="module")
def network() -> Identity:
    return Identity(MODEL)


@torch.no_grad()
def test_people_are_told_apart(network):
    one, again, other = network(to_tensor([crop(n) for n in ("obama.jpg", "obama2.jpg", "biden.jpg")]))
    assert float((one - again).norm()) < 0.6 < min(float((one - other).norm()), float((again - other).norm()))
    assert 1.0 < float(one.norm()) < 2.0


@torch.no_grad()
def test_distance_grows_with_degradation(network):
    clear = crop("obama.jpg")
    truth = network(to_tensor([clear]))
    far = [float((network(to_tensor([degrade(clear, Degradation(1.0, b, 2.0, 80, 1))])) - truth).norm())
           for b in (1.0, 4.0, 8.0, 16.0)]
    assert far == sorted(far) and far[0] < 0.2 and far[-1] > 0.4


def test_gradients_reach_the_image_only(network):
    x = torch.zeros(1, 3, 512, 512, requires_grad=True)
    network(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0 and not list(network.parameters())


def test_another_file_is_named(tmp_path):
    other = tmp_path / "other.dat"
    other.write_bytes(b"not a network")
    with pytest.raises(ValueError, match="other.dat: 0 layers"):
        parameters(other)
