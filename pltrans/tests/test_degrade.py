"""Eq. 13: seeded, in its ranges, and monotone in what it destroys."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
from PIL import Image

from pltrans.degrade import Degradation, blur, degrade, draw, draw_clean, write_pairs
from pltrans.tests.conftest import ROOT, drawn_face


def test_draw_is_seeded_and_in_the_papers_ranges():
    draws = [draw(np.random.default_rng([1, i]), 0.8, 32) for i in range(400)]
    assert draws[:5] == [draw(np.random.default_rng([1, i]), 0.8, 32) for i in range(5)]
    for d in draws:
        assert 0 <= d.rho <= 5 and 0.8 <= d.b <= 32 and 0 <= d.sigma <= 10 and 50 <= d.quality <= 100
    b = np.array([d.b for d in draws])
    assert 0.42 < float((b < np.sqrt(0.8 * 32)).mean()) < 0.58  # log-uniform: half below the geometric mean


def test_same_degradation_same_pixels_and_shape():
    face = np.asarray(drawn_face(1, 128))
    for b in (0.8, 1.0, 3.3, 16.0):
        d = Degradation(1.5, b, 5.0, 70, 11)
        out = degrade(face, d)
        assert out.shape == face.shape and out.dtype == np.uint8
        assert np.array_equal(out, degrade(face, d))
    other = degrade(face, Degradation(1.5, 2.0, 5.0, 70, 12))
    assert not np.array_equal(other, degrade(face, Degradation(1.5, 2.0, 5.0, 70, 11)))


def test_heavier_is_worse_and_near_clean_is_near():
    face = np.asarray(drawn_face(2, 256)).astype(float)
    error = [np.abs(degrade(face.astype(np.uint8), Degradation(1.0, b, 3.0, 80, 1)) - face).mean()
             for b in (1.0, 4.0, 16.0)]
    assert error[0] < error[1] < error[2]
    clean = degrade(face.astype(np.uint8), draw_clean(np.random.default_rng(0)))
    assert np.abs(clean - face).mean() < 2.5


def test_blur_keeps_the_mean():
    import torch

    x = torch.rand(1, 3, 64, 64)
    assert abs(float(blur(x, 3.0).mean() - x.mean())) < 5e-3
    assert torch.equal(blur(x, 0.0), x)


def test_pairs_are_written_alike_twice(tmp_path):
    (tmp_path / "faces" / "set").mkdir(parents=True)
    for i in range(3):
        drawn_face(i, 512).save(tmp_path / "faces" / "set" / f"{i}.png")
    assert write_pairs(tmp_path / "faces", tmp_path / "a", 5, 1, 8, 2) == 2
    subprocess.run([sys.executable, "-m", "pltrans.degrade", "--faces", str(tmp_path / "faces"), "--out",
                    str(tmp_path / "b"), "--seed", "5", "--low", "1", "--high", "8", "--count", "2"],
                   check=True, cwd=ROOT, capture_output=True)
    names = sorted(p.name for p in (tmp_path / "a" / "input").iterdir())
    assert len(names) == 2 and names == sorted(p.name for p in (tmp_path / "a" / "truth").iterdir())
    for name in names:
        for kind in ("input", "truth"):
            a, b = (np.asarray(Image.open(tmp_path / run / kind / name)) for run in "ab")
            assert a.shape == (512, 512, 3) and np.array_equal(a, b)
