"""Measures against closed forms, restorers by their Spec, and the tables."""
from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from pltrans import evaluate
from pltrans.config import tiny
from pltrans.evaluate import Judges, compare, crop112, markdown, pair, spread, summary
from pltrans.measures import frechet, gradient_energy, psnr, skin_tone
from pltrans.restorers import at_steps, bicubic, by_spec, remembered, untouched


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4000, 3))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    # |m|^2 + sum (s_a - s_b)^2 for independent coordinates
    b = rng.standard_normal((4000, 3)) * np.array([1, 2, 3]) + np.array([1, 0, 2])
    assert frechet(a, b) == pytest.approx(1 + 4 + 0 + 1 + 4, rel=0.06)


def test_gradient_energy_falls_with_blur():
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    assert gradient_energy(bicubic(x, "", 4.0)) < 0.2 * gradient_energy(x)


def test_skin_tones():
    def flat(r, g, b):
        return torch.tensor([r, g, b]).reshape(1, 3, 1, 1).expand(1, 3, 512, 512) / 127.5 - 1

    # CIELAB by hand: (230,190,170) has L* 79.6, b* 15 -> 63 degrees; (180,130,100) 58.3, 24 -> 19; (90,60,45) 28, 14 -> negative
    assert skin_tone(flat(230.0, 190.0, 170.0)) == "light skin"
    assert skin_tone(flat(180.0, 130.0, 100.0)) == "medium skin"
    assert skin_tone(flat(90.0, 60.0, 45.0)) == "dark skin"


def negating_model(path, extra=()):
    """An ONNX file that returns 1 - image (range 0..1), and takes more inputs without using them."""
    nodes = [helper.make_node("Sub", ["one", "face"], ["out"])]
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    inputs = [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, 64, 64])]
    inputs += [helper.make_tensor_value_info(n, t, s) for n, t, s in extra]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3, 64, 64])], [one])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), str(path))


def test_a_restorer_by_its_spec(tmp_path):
    path = tmp_path / "other.onnx"
    negating_model(path, [("weight", TensorProto.DOUBLE, [1]), ("noise", TensorProto.FLOAT, ["n", 2, 3])])
    with pytest.raises(ValueError, match="write other.json"):
        by_spec(path)
    spec = {"size": 64, "range": [0, 1], "colour_order": "BGR", "image_input": "face", "output": "out",
            "extra_inputs": [{"name": "weight", "default": 0.5}, {"name": "noise", "shape": [2, 3], "default": "normal"}]}
    path.with_suffix(".json").write_text(json.dumps(spec))
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.allclose(by_spec(path)(x, "a", 2.0), -x, atol=1e-6)


def test_table_and_sheet(network, faces):
    files = spread(faces, 3)
    kinds = {files[0]: "photograph", files[1]: "generated", files[2]: "photograph"}
    restorers = {"input": untouched, "bicubic": bicubic, "4 steps": at_steps(network, network.cfg, 4),
                 "truth": lambda x, name, b: truth[name, b]}
    truth = {(f.name, b): pair(f, i, b, network.cfg, 7)[1] for i, f in enumerate(files) for b in (0.0, 8.0)}
    got, fids, picture = compare(restorers, Judges(None), network.cfg, files, kinds, (0.0, 8.0), shown=2)
    assert len(got) == 2 * 3 * 4 and not fids and picture.size == (192 * 5, 16 + 192 * 4)
    rows = summary(got, fids)
    by = {(r["kind"], r["b"], r["restorer"]): r for r in rows}
    assert by["all", 8.0, "truth"]["psnr"] == 100 and by["all", 8.0, "truth"]["not worse"] == 1
    assert by["all", 0.0, "input"]["psnr"] > by["all", 8.0, "input"]["psnr"] + 5
    assert by["photograph", 8.0, "input"]["faces"] == 2 and by["generated", 8.0, "input"]["faces"] == 1
    mean = (2 * by["photograph", 8.0, "input"]["psnr"] + by["generated", 8.0, "input"]["psnr"]) / 3
    assert by["all", 8.0, "input"]["psnr"] == pytest.approx(mean)
    text = markdown(rows)
    assert "| photograph (2) | ×8 | bicubic |" in text and "PLTrans (paper)" in text
    first, *lines = evaluate.wide(rows).splitlines()
    assert len(lines) == 1 + 2 * len({r["kind"] for r in rows}) and "PSNR 4 steps" in first and "SSIM truth" in first
    assert lines[1].startswith("| all (3) | near-clean |") and all(s.count("|") == first.count("|") for s in lines)
    again = compare(restorers, Judges(None), network.cfg, files, kinds, (0.0, 8.0), shown=0)[0]
    assert again == got, "seeded"


def test_results_are_remembered_for_one_image():
    calls = []

    def run(x, noise, steps):
        calls.append(int(steps[0]))
        return x + steps[0]

    once, a, b = remembered(run), torch.zeros(1), torch.ones(1)
    got = [float(once(x, a, torch.tensor([n]))) for x, n in ((a, 1), (a, 2), (a, 1), (b, 1), (a, 1))]
    assert got == [1, 2, 1, 2, 1] and calls == [1, 2, 1, 1]


class Pool(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean([2, 3])


class Far(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean([1, 2, 3])


def test_networks_of_the_user(tmp_path, faces):
    torch.jit.script(Pool()).save(str(tmp_path / "pool.pt"))
    torch.jit.script(Far()).save(str(tmp_path / "far.pt"))
    judges = Judges(None, tmp_path / "far.pt", tmp_path / "pool.pt", tmp_path / "pool.pt")
    got, fids, _ = compare({"input": untouched}, judges, tiny(), spread(faces, 4), {}, (16.0,), shown=0)
    assert all(0 < f["lpips"] < 1 and -1 <= f["ids"] <= 1 for f in got)
    assert len(fids) == 1 and 0 <= fids[0]["fid"] < 1
    assert "fid" in summary(got, fids)[0]


def test_crop112_puts_the_eyes_where_arcface_has_them():
    x = torch.full((1, 3, 512, 512), -1.0)
    for cx, cy in ((192.98, 239.95), (318.90, 240.19)):
        x[..., round(cy) - 4:round(cy) + 5, round(cx) - 4:round(cx) + 5] = 1.0
    small = crop112(x)[0, 0] + 1
    assert small.shape == (112, 112)
    left, right = small.clone(), small.clone()
    left[:, 56:], right[:, :56] = 0, 0
    for half, (ex, ey) in ((left, (38.3, 51.7)), (right, (73.5, 51.5))):
        y, x_ = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
        assert abs(float((half * x_).sum() / half.sum()) - ex) < 0.7
        assert abs(float((half * y).sum() / half.sum()) - ey) < 0.7


def test_the_command(tmp_path, faces, network, monkeypatch):
    record = {"config": network.cfg.to_dict(), "ema": network.state_dict()}
    torch.save(record, tmp_path / "m.pt")
    monkeypatch.setattr("sys.argv", ["evaluate", "--model", str(tmp_path / "m.pt"), "--faces", str(faces), "--out",
                                     str(tmp_path / "out"), "--count", "2", "--steps", "0,2", "--factors", "2,8",
                                     "--dlib", str(tmp_path / "none")])
    evaluate.main()
    assert (tmp_path / "out" / "table.md").read_text().count("| all (2) |") == 8 + 2
    assert len(json.loads((tmp_path / "out" / "faces.json").read_text())) == 2 * 2 * 4
