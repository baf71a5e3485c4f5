"""int8: convolutions are quantised, the named ones are not, the result stays near, and a loss over the limit is refused."""
from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from pltrans import export, quantize
from pltrans.data import list_faces
from pltrans.restorers import session
from pltrans.tests.conftest import ROOT, drawn_face


@pytest.fixture
def exported(tmp_path, network):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(export.export(network, {}))
    return path


def test_folding_keeps_the_result(exported, network):
    feed = {"image": np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32),
            "noise": np.zeros((1, 4, network.cfg.side, network.cfg.side), np.float32), "steps": np.array([2])}
    before = session(exported.read_bytes()).run(None, feed)[0]
    folded = quantize.full_weights(onnx.load(str(exported)))
    assert not any(t.data_type == onnx.TensorProto.FLOAT16 for t in folded.graph.initializer)
    assert np.allclose(session(folded.SerializeToString()).run(None, feed)[0], before, atol=1e-5)


def test_convolutions_become_int8(exported, network, faces):
    reader = quantize.Reader(list_faces(faces), network.cfg)
    made = quantize.static_int8(onnx.load(str(exported)), reader)
    convolutions = [n for n in made.graph.node if n.op_type == "Conv"]
    scaled = {o for n in made.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    inner = [n for n in convolutions if n.input[1] in scaled]
    left = [n for n in convolutions if n not in inner]
    assert len(inner) > 10 and left and all(quantize.is_left(n, quantize.FLOAT) for n in left)
    assert {m.key for m in made.metadata_props} >= {"restored.spec"}


def test_the_command_measures_and_refuses(tmp_path, monkeypatch, capsys):
    """On the shipped network: ONNX Runtime 1.27 aborts on some tiny int8 graphs (in QDQPropagationTransformer)."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for i in range(2):
        drawn_face(i, 512).save(faces / f"{i}.png")
    monkeypatch.setattr(quantize, "FACTORS", (4.0,))
    out = tmp_path / "int8.onnx"
    call = ["quantize", "--model", str(ROOT / "restore" / "models" / "pltrans-s.onnx"), "--faces", str(faces), "--val",
            str(faces), "--out", str(out), "--count", "2", "--val-count", "1"]
    monkeypatch.setattr("sys.argv", call + ["--limit", "1.0"])
    quantize.main()
    said = capsys.readouterr().out
    assert "b=4: input" in said and "times faster" in said
    spec = next(m.value for m in onnx.load(str(out)).metadata_props if m.key == "restored.spec")
    assert json.loads(spec)["name"] == "pltrans-s-int8"
    made = onnx.load(str(out))
    out.unlink()
    monkeypatch.setattr(quantize, "static_int8", lambda *_: made)  # once is enough
    monkeypatch.setattr("sys.argv", call + ["--limit", "-100"])
    with pytest.raises(SystemExit, match="not written"):
        quantize.main()
    assert not out.exists() and not list(tmp_path.glob("*.tmp*"))
