"""A checkpoint from an exported file: the same network, and training that goes on from it."""
from __future__ import annotations

import dataclasses
import json

import onnx
import pytest
import torch

from pltrans import export, recover
from pltrans.config import Plan, tiny
from pltrans.data import Faces, to_tensor
from pltrans.degrade import Degradation, degrade
from pltrans.model import PLTrans
from pltrans.train import load_model, train
from pltrans.tests.test_export import SHIPPED, face

PAST = {"date": "2026-01-01", "stages": {"restore": {"steps": 7, "minutes": 1.0}}}


def scrambled(cfg) -> PLTrans:
    """A network in which no two weights are equal: also norms' scales and V."""
    model = PLTrans(cfg).eval()
    with torch.no_grad():
        for value in (*model.parameters(), model.prior.V, model.maps.std):
            value.add_(0.05 * torch.randn_like(value))
    return model


def outputs(model, steps=5):
    cfg, generator = model.cfg, torch.Generator().manual_seed(4)
    x = torch.rand(2, 3, cfg.size, cfg.size, generator=generator) * 2 - 1
    noise = torch.randn(2, cfg.latent, cfg.side, cfg.side, generator=generator)
    with torch.no_grad():
        return model(x, noise, torch.tensor([0, steps]))


@pytest.mark.parametrize("changes", [{}, {"use_phi": False}, {"use_dictionary": False}])
def test_every_weight_comes_back(tmp_path, changes):
    model, path = scrambled(dataclasses.replace(tiny(), **changes)), tmp_path / "a.onnx"
    path.write_bytes(export.export(model, PAST, half=False))
    found = recover.record(path)
    for name, value in model.state_dict().items():
        if not name.startswith(recover.unused(model.cfg)):
            assert torch.equal(found["ema"][name], value), name
    assert found["config"] == model.cfg.to_dict()
    assert found["history"]["earlier"] == {"version": export.VERSION, **PAST}


def test_half_storage_and_export_again(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(export.export(scrambled(tiny()), PAST))
    first = recover.network(onnx.load(str(path)), tiny())
    again = recover.network(onnx.load_model_from_string(export.export(first, PAST)), tiny())
    assert torch.equal(outputs(first), outputs(again))
    assert export.parity(first, path.read_bytes())["torch_vs_onnx"] < 1e-4


def test_training_goes_on(tmp_path, faces):
    path = tmp_path / "a.onnx"
    path.write_bytes(export.export(scrambled(tiny()), PAST, half=False))
    began = recover.record(path)["ema"]
    plan = Plan(steps=2, lr=1e-7)
    done = train(tmp_path / "run", "restore", tiny(), Faces(faces, tiny()), plan, autocast=False, start=path)
    for name, value in done.model.state_dict().items():
        if not name.startswith("G.whole"):  # not in the file
            assert torch.allclose(value, began[name], atol=1e-4), f"{name} isn't the file's"
    assert all(torch.equal(v, began[f"E.{k}"]) for k, v in done.state["teacher"]["E"].items())
    train(tmp_path / "run", "finish", tiny(), Faces(faces, tiny()), plan, autocast=False, start=path)
    history = export.training_summary(tmp_path / "run" / "finish.pt")["stages"]
    assert history["earlier"]["stages"] == PAST["stages"] and history["finish"]["cpu_minutes"] >= 0
    assert json.dumps(history) and history["restore"]["steps"] == 2
    assert outputs(load_model(tmp_path / "run" / "finish.pt")).isfinite().all()


def test_another_network_is_refused(tmp_path):
    graph = onnx.load_model_from_string(export.export(scrambled(tiny()), PAST))
    with pytest.raises(ValueError, match="prior.V has 320 numbers, not 160"):
        recover.network(graph, dataclasses.replace(tiny(), codes=8))
    with pytest.raises(ValueError, match="normalisations"):
        recover.network(graph, dataclasses.replace(tiny(), cross_blocks=3))


def test_the_shipped_file_comes_back():
    found = recover.record(SHIPPED)
    assert found["ema"]["prior.V"].shape == (512, 160) and found["history"]["earlier"]["stages"]
    model = PLTrans(recover.Config.from_dict(found["config"]))
    model.load_state_dict(found["ema"])
    blurred = to_tensor([degrade(face(), Degradation(2.0, 4.0, 3.0, 80, i)) for i in range(3)])
    figures = export.parity(model.eval(), SHIPPED.read_bytes(), blurred)
    assert figures["torch_vs_onnx"] < 0.01 < figures["residual"]


def test_a_head_for_pictures_is_fitted(network, faces):
    y = [to_tensor([Faces(faces, tiny()).face(p)]) for p in sorted(faces.rglob("*.png"))]

    def error():
        total = 0.0
        with torch.no_grad():
            for face_ in y:
                q = network.E(face_)
                total += float(((network.G(network.latent(q, network.maps.encode(q)[0]), None) - face_) ** 2).mean())
        return total

    before = error()
    recover.fit_whole(network, y)
    best = error()
    assert best < 0.9 * before
    with torch.no_grad():
        network.G.whole.bias.add_(0.02)
    assert error() > best
