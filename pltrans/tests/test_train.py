"""The three stages on drawn faces: they run, hand on, learn, and resume to the same state."""
from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from pltrans import stages
from pltrans.config import tiny
from pltrans.data import Faces, ahead, sources
from pltrans.evaluate import psnr, ssim, table
from pltrans.train import load_model, train


@pytest.fixture(autouse=True)
def _small_stages(monkeypatch):
    monkeypatch.setattr(stages, "KMEANS_STEP", 3)
    monkeypatch.setattr(stages, "LATENTS", 8)
    monkeypatch.setattr(stages, "DIFFUSION_BATCH", 4)


def run(folder, stage, faces, steps, lr=1e-3):
    return train(folder, stage, tiny(), Faces(faces, tiny()), lr, steps=steps, autocast=False)


def test_three_stages_then_a_model(tmp_path, faces):
    run(tmp_path, "prior", faces, 6)
    run(tmp_path, "diffusion", faces, 4)
    last = run(tmp_path, "restore", faces, 4)
    assert set(last.history) == {"prior", "diffusion", "restore"} and last.history["restore"]["steps"] == 4
    model = load_model(tmp_path / "restore.pt")
    assert abs(float(model.maps.std) - 1) > 1e-6, "u must be scaled by its deviation"
    rows = table(model, model.cfg, sorted(faces.rglob("*.png"))[:2], (0, 4.0), (0, 2))
    assert rows[1]["psnr_in"] > 10 and set(rows[0]) >= {"psnr_out0", "ssim_out2", "not_worse"}
    assert (tmp_path / "restore-loss.csv").read_text().startswith("step,seconds,grad,l1")


@pytest.mark.parametrize("stage,before", [("prior", ()), ("restore", ("prior", "diffusion"))])
def test_resuming_gives_the_same_state(tmp_path, faces, stage, before):
    for name in ("whole", "parts"):
        for earlier in before:
            run(tmp_path / name, earlier, faces, 4)
    whole = run(tmp_path / "whole", stage, faces, 6)
    # an interrupted run of the same six steps: stop at 4 of them, then go on
    stop_at(tmp_path / "parts", stage, faces, 4, 6)
    parts = run(tmp_path / "parts", stage, faces, 6)
    assert parts.step == whole.step == 6
    for (name, a), b in zip(whole.model.state_dict().items(), parts.model.state_dict().values()):
        assert torch.equal(a, b), name
    assert all(torch.equal(whole.ema[k], parts.ema[k]) for k in whole.ema)


def stop_at(folder, stage, faces, at, steps):
    """Run the first `at` of `steps` steps as a killed run leaves them."""
    class Stop(Exception):
        pass

    loader = Faces(faces, tiny())
    loss = stages.LOSSES[stage]

    def limited(model, batch, state, generator, step, bf16):
        if step == at:
            raise Stop
        return loss(model, batch, state, generator, step, bf16)

    from pltrans import train as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stages.LOSSES, stage, limited)
        patch.setattr(module, "SAVE_SECONDS", -1.0)
        with pytest.raises(Stop):
            train(folder, stage, tiny(), loader, 1e-3, steps=steps, autocast=False)


def test_restoration_learns(tmp_path, faces):
    run(tmp_path, "prior", faces, 4)
    run(tmp_path, "diffusion", faces, 4)
    cfg = dataclasses.replace(tiny(), p_clean=0.0, p_old=0.0)
    done = run(tmp_path, "restore", faces, 60, lr=2e-3)
    batch = Faces(faces, cfg).pair_batch(9, 0)
    teacher = {"teacher": done.state["teacher"]}
    after = stages.restore_loss(done.model, batch, teacher, torch.Generator().manual_seed(0), 9, False)
    with torch.no_grad():
        done.model.G.residual.weight.zero_()
        done.model.G.residual.bias.zero_()
    nothing = stages.restore_loss(done.model, batch, teacher, torch.Generator().manual_seed(0), 9, False)
    assert float(after["l1"]) < 0.99 * float(nothing["l1"])


def test_missing_stage_and_folder_are_named(tmp_path, faces):
    with pytest.raises(FileNotFoundError, match="prior.pt is missing"):
        run(tmp_path, "diffusion", faces, 1)
    with pytest.raises(FileNotFoundError, match="no images under"):
        Faces(tmp_path / "nothing", tiny())


def test_batches_depend_on_seed_and_number_only(faces):
    a, b = Faces(faces, tiny()), Faces(faces, tiny())
    b.pair_batch(3, 0)
    for x, y in zip(a.pair_batch(3, 5), b.pair_batch(3, 5)):
        assert torch.equal(x, y)
    assert not torch.equal(a.pair_batch(3, 5)[0], a.pair_batch(3, 6)[0])
    assert len(a.real) == 2 and len(a.other) == 4
    assert json.dumps(sources(faces)) and sources(faces)[0]["faces"] == 4


def test_loader_hands_errors_on():
    def make(step):
        if step == 2:
            raise ValueError("broken file")
        return (step,)

    batches = ahead(make, 0)
    assert [next(batches), next(batches)] == [(0,), (1,)]
    with pytest.raises(ValueError, match="broken file"):
        next(batches)


def test_measures():
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    assert psnr(x, x) == 100.0 and abs(ssim(x, x) - 1) < 1e-4
    y = (x + 2 * 10 / 255 * torch.sign(torch.randn_like(x))).clamp(-1, 1)
    assert 27.5 < psnr(x, y) < 30 and 0 < ssim(x, y) < 1
