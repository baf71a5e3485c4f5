"""Every ablation switch changes the result, trains and is measured."""
from __future__ import annotations

import dataclasses

import pytest
import torch

from pltrans import export, stages
from pltrans.ablate import VARIANTS, ablate, markdown
from pltrans.config import Plan, tiny
from pltrans.data import Faces
from pltrans.model import PLTrans
from pltrans.train import load_model, train


@pytest.mark.parametrize("switch", ["use_dictionary", "use_diffusion", "use_phi", "use_dwt"])
def test_each_switch_changes_the_result(network, switch):
    other = PLTrans(dataclasses.replace(tiny(), **{switch: False})).eval()
    other.load_state_dict(network.state_dict())
    x, noise, steps = torch.rand(1, 3, 64, 64) * 2 - 1, torch.randn(1, 4, tiny().side, tiny().side), torch.tensor([6])
    with torch.no_grad():
        assert (network(x, noise, steps) - other(x, noise, steps)).abs().max() > 1e-5
        if switch in ("use_diffusion", "use_dwt"):  # both act through the steps only
            none = torch.tensor([0])
            assert torch.equal(network(x, noise, none), other(x, noise, none))


def test_all_variants_are_trained_and_measured(tmp_path, faces, monkeypatch):
    monkeypatch.setattr(stages, "KMEANS_STEP", 3)
    monkeypatch.setattr(stages, "LATENTS", 8)
    monkeypatch.setattr(stages, "DIFFUSION_BATCH", 4)
    for stage in ("prior", "diffusion", "restore"):
        train(tmp_path, stage, tiny(), Faces(faces, tiny()), Plan(steps=4, lr=1e-3), autocast=False)
    files = sorted(faces.rglob("*.png"))[:1]
    exported = tmp_path / "a.onnx"
    exported.write_bytes(export.export(load_model(tmp_path / "restore.pt"), {}, half=False))
    from_file = ablate(exported, faces, files, tmp_path / "out", Plan(steps=2, lr=1e-3), (4.0,))
    rows = ablate(tmp_path / "restore.pt", faces, files, tmp_path / "out", Plan(steps=2, lr=1e-3), (4.0,))
    assert [r["variant"] for r in rows] == list(VARIANTS)
    for a, b in zip(from_file, rows):  # the same weights but for their rounding, and not what the first run left
        assert a["psnr_out4"] == pytest.approx(b["psnr_out4"], abs=0.3) and a["psnr_in"] == b["psnr_in"]
    text = markdown(rows)
    assert text.count("\n") == 1 + len(VARIANTS) and "w/o DWT" in text
    with open(tmp_path / "out" / "ablation.csv") as handle:
        assert len(handle.readlines()) == 1 + len(VARIANTS)
