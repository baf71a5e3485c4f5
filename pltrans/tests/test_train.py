"""The stages on drawn faces: they run, hand on, learn, and resume to the same state; also over two processes."""
from __future__ import annotations

import dataclasses
import json
import os
import zlib
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from PIL import Image

from pltrans import curves, stages
from pltrans.config import STAGES, Plan, read_plan, size_b, tiny
from pltrans.data import Faces, ahead, sources
from pltrans.evaluate import table
from pltrans.losses import relative_structure
from pltrans.measures import psnr, ssim, ssim_each
from pltrans.model import PLTrans
from pltrans.train import load_model, train
from pltrans.validate import validation


@pytest.fixture(autouse=True)
def _small_stages(monkeypatch):
    monkeypatch.setattr(stages, "KMEANS_STEP", 3)
    monkeypatch.setattr(stages, "LATENTS", 8)
    monkeypatch.setattr(stages, "DIFFUSION_BATCH", 4)


def run(folder, stage, faces, steps, lr=1e-3):
    return train(folder, stage, tiny(), Faces(faces, tiny()), Plan(steps=steps, lr=lr), autocast=False)


def test_four_stages_then_a_model(tmp_path, faces):
    run(tmp_path, "prior", faces, 6)
    run(tmp_path, "diffusion", faces, 4)
    run(tmp_path, "restore", faces, 4)
    last = run(tmp_path, "finish", faces, 3)
    assert set(last.history) == set(STAGES) and last.history["restore"]["steps"] == 4
    model = load_model(tmp_path / "finish.pt")
    assert abs(float(model.maps.std) - 1) > 1e-6, "u must be scaled by its deviation"
    rows = table(model, model.cfg, sorted(faces.rglob("*.png"))[:2], (0, 4.0), (0, 2))
    assert rows[1]["psnr_in"] > 10 and set(rows[0]) >= {"psnr_out0", "ssim_out2", "not_worse"}
    assert (tmp_path / "restore-loss.csv").read_text().startswith("step,seconds,cpu,grad,l1")


@pytest.mark.parametrize("stage,before", [("prior", ()), ("restore", ("prior", "diffusion")),
                                          ("finish", ("prior", "diffusion", "restore"))])
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
            train(folder, stage, tiny(), loader, Plan(steps=steps, lr=1e-3), autocast=False)


def test_restoration_learns(tmp_path, faces):
    run(tmp_path, "prior", faces, 4)
    run(tmp_path, "diffusion", faces, 4)
    cfg = dataclasses.replace(tiny(), p_clean=0.0, p_old=0.0)
    done = train(tmp_path, "restore", cfg, Faces(faces, cfg), Plan(steps=60, lr=4e-3), autocast=False)
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
    assert ssim_each(torch.cat([x, x]), torch.cat([x, y])).tolist() == pytest.approx([1, ssim(x, y)], abs=1e-4)
    lost = 1 - ssim(x, y)
    assert [float(relative_structure(r, x, y)) for r in (y, x)] == pytest.approx([0, lost / (lost + 0.05)], abs=1e-4)


def test_plans(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text('size = "b"\n[config]\nbatch = 6\n[prior]\nsteps = 5\n[restore]\nminutes = 2\nlr = 1e-4\n')
    cfg, plans = read_plan(file)
    assert cfg == dataclasses.replace(size_b(), batch=6)
    assert plans == {"prior": Plan(steps=5, lr=1e-3), "restore": Plan(minutes=2, lr=1e-4)}
    for text, wanted in (('size = "xl"', "xl"), ("[config]\nwidth = 3", "width"), ("[warm]\nsteps = 1", "warm"),
                         ("[prior]\nepochs = 3", "epochs")):
        file.write_text(text)
        with pytest.raises(ValueError, match=wanted):
            read_plan(file)
    for shipped in (Path(__file__).parents[1] / "configs").glob("*.toml"):
        wanted = {"restore", "finish"} if shipped.stem == "s-on" else set(STAGES)
        assert set(read_plan(shipped)[1]) == wanted, shipped


def test_another_network_is_refused(tmp_path, faces):
    run(tmp_path, "prior", faces, 1)
    other = dataclasses.replace(tiny(), codes=8)
    with pytest.raises(ValueError, match=r"prior.pt is of another network \(codes differ\)"):
        train(tmp_path, "prior", other, Faces(faces, other), Plan(steps=2, lr=1e-3), autocast=False)


def test_steps_follow_the_degradation():
    generator = torch.Generator().manual_seed(0)
    mild = stages.draw_steps(torch.full((500,), 1.0), 12, generator)
    heavy = stages.draw_steps(torch.full((500,), 16.0), 12, generator)
    heaviest = stages.draw_steps(torch.full((500,), 64.0), 12, generator)
    assert (mild == 0).float().mean() > 0.9 and heavy.min() >= 2 and 5 < heavy.float().mean() < 7
    assert heaviest.min() >= 8 and heaviest.max() == 12


def test_validation_writes_figures_sheets_and_curves(tmp_path, faces):
    for stage in STAGES:
        train(tmp_path, stage, tiny(), Faces(faces, tiny()), Plan(steps=2, lr=1e-3), validation(faces, tiny(), 2),
              autocast=False)
        sheet = Image.open(tmp_path / "sheets" / f"{stage}-000002.jpg")
        assert sheet.size == ((512, 512) if stage in ("prior", "diffusion") else (1024, 512))
    figures = curves.rows(tmp_path / "restore-val.csv")
    assert [r["b"] for r in figures] == [0, 1, 2, 4, 8, 32] and all(r["psnr_out8"] > 5 for r in figures)
    assert curves.rows(tmp_path / "prior-val.csv")[0]["psnr"] > 5
    curves.plot(tmp_path, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] > 500


def test_curves_leave_out_what_a_resumed_run_did_again(tmp_path):
    log = tmp_path / "restore-loss.csv"
    log.write_text("step,seconds,cpu,l1\n1,9,9,0.5\n3,20,20,0.4\n4,29,29,0.3\n2,30,30,0.45\n5,60,60,0.2\n")
    assert [r["step"] for r in curves.rows(log)] == [1, 2, 5]
    curves.plot(tmp_path, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[1] > 200, "one panel: this run wasn't validated"


def worker(rank, folder, faces):
    """One of two processes of a distributed run."""
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE="2", MASTER_PORT=str(rank_port(folder)))
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    stages.KMEANS_STEP, stages.LATENTS, stages.DIFFUSION_BATCH = 3, 8, 4
    for stage in STAGES:
        done = run(folder, stage, faces, 4)
        torch.save({**done.model.state_dict(), "step": done.step}, folder / f"{stage}-{rank}.state")
    dist.destroy_process_group()


def rank_port(folder):
    return 20000 + zlib.crc32(str(folder).encode()) % 20000


def test_two_processes_train_one_network(tmp_path, faces):
    torch.multiprocessing.spawn(worker, (tmp_path, faces), nprocs=2)
    for stage in STAGES:
        first, second = (torch.load(tmp_path / f"{stage}-{rank}.state") for rank in (0, 1))
        trained = [k for k, _ in PLTrans(tiny()).named_parameters()]
        assert all(torch.equal(first[k], second[k]) for k in trained), stage
        assert first["step"] == second["step"] == 4
    run(tmp_path / "alone", "prior", faces, 4)
    alone = torch.load(tmp_path / "alone" / "prior.pt")["model"]
    both = torch.load(tmp_path / "prior-0.state")
    assert not torch.equal(alone["E.first.weight"], both["E.first.weight"]), "the second process's batches must count"
    assert torch.load(tmp_path / "restore.pt")["history"]["restore"]["processes"] == 2
