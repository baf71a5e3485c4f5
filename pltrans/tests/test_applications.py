"""Sampling, interpolation, editing and restoring of anything: what must hold whatever the network has learnt."""
from __future__ import annotations

import sys

import pytest
import torch
from PIL import Image

from pltrans import applications as app
from pltrans.data import load_face, to_tensor


@pytest.fixture
def latents(network, faces):
    files = sorted(faces.rglob("*.png"))[:2]
    with torch.no_grad():
        return files, [app.latent_of(network, to_tensor([load_face(f, 64)])) for f in files]


def test_interpolation_begins_and_ends_at_the_faces(latents):
    _, (a, b) = latents
    assert torch.allclose(app.between(a, b, 0.0), a, atol=1e-5) and torch.allclose(app.between(a, b, 1.0), b, atol=1e-5)
    middle = app.between(a, b, 0.5)
    assert float((middle - a).norm()) == pytest.approx(float((middle - b).norm()), rel=0.25)
    assert torch.equal(app.between(a, a, 0.3), a)


def test_editing_changes_the_part_only():
    a, b = torch.zeros(1, 4, 16, 16), torch.ones(1, 4, 16, 16)
    for part, (rows, columns) in app.REGIONS.items():
        u = app.swapped(a, b, part)
        assert float(u.sum()) == 4 * (rows.stop - rows.start) * (columns.stop - columns.start) == float(u[..., rows, columns].sum())
    assert float(a.sum()) == 0


@torch.no_grad()
def test_sampling_is_fixed_by_the_noise(network):
    noise = torch.randn(2, 4, network.cfg.side, network.cfg.side)
    one, again = app.sampled(network, noise, 4), app.sampled(network, noise, 4)
    assert torch.equal(one, again) and torch.isfinite(one).all() and not torch.equal(one[0], one[1])


@pytest.mark.parametrize("task,count,columns", [("sample", 0, 6), ("interpolate", 2, 9), ("edit", 2, 7), ("out-of-domain", 1, 4)])
def test_the_command_draws_a_sheet(tmp_path, network, latents, monkeypatch, task, count, columns):
    torch.save({"config": network.cfg.to_dict(), "ema": network.state_dict()}, tmp_path / "m.pt")
    out = tmp_path / "sheet.jpg"
    faces = [str(f) for f in latents[0][:count]]
    monkeypatch.setattr("sys.argv", ["applications", task, *faces, "--model", str(tmp_path / "m.pt"), "--out", str(out)])
    app.main()
    assert Image.open(out).size[0] == 192 * columns
    if task == "edit":
        first = Image.open(out).tobytes()
        monkeypatch.setattr("sys.argv", [*sys.argv, "--fit", str(latents[0][0].parent)])
        app.main()
        assert Image.open(out).tobytes() != first
        monkeypatch.setattr("sys.argv", ["applications", task, faces[0], "--model", "m", "--out", str(out)])
        with pytest.raises(SystemExit):
            app.main()
