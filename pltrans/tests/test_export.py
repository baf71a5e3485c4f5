"""The exported file: contract, metadata, parity; and the committed weights: harmless on known inputs."""
from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from pltrans import export
from pltrans.restorers import ours
from pltrans.data import to_tensor
from pltrans.degrade import Degradation, degrade
from pltrans.measures import psnr
from pltrans.tests.conftest import ROOT

SHIPPED = ROOT / "restore" / "models" / "pltrans-s.onnx"
SAMPLES = ROOT / ".deps" / "samples"


@pytest.fixture(scope="module")
def shipped():
    return ours(SHIPPED)[0]


def noise(n=1):
    return torch.randn(n, 16, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("half", [False, True])
def test_parity_with_onnx_runtime(network, half):
    figures = export.parity(network, export.export(network, {}, half))
    assert figures["residual"] > 0.05
    assert figures["torch_vs_onnx"] < (5e-3 if half else 2e-5)
    assert figures["batch_vs_single"] < 1e-5


def test_contract_and_metadata(network, tmp_path):
    data = export.export(network, {"stages": {"restore": {"steps": 1}}})
    graph = onnx.load_model_from_string(data)
    assert [i.name for i in graph.graph.input] == ["image", "noise", "steps"]
    assert [o.name for o in graph.graph.output] == ["restored"] and graph.opset_import[0].version == 16
    assert "Loop" in {n.op_type for n in graph.graph.node}
    own = json.loads({p.key: p.value for p in graph.metadata_props}["restored.spec"])
    assert own["extra_inputs"][1] == {"name": "steps", "dtype": "int64", "shape": [], "default": 4, "min": 0,
                                      "max": 12}
    with pytest.raises(ValueError, match="two skip levels"):
        import dataclasses

        from pltrans.model import PLTrans
        export.to_onnx(PLTrans(dataclasses.replace(network.cfg, fine_blocks=(1,))))


def test_shipped_file(shipped):
    assert SHIPPED.stat().st_size <= 25e6
    session = export.session(str(SHIPPED))
    meta = session.get_modelmeta().custom_metadata_map
    own = json.loads(meta["restored.spec"])
    assert own["size"] == 512 and own["template"] == "ffhq_512" and own["batchable"]
    assert json.loads(meta["restored.training"])["stages"]["restore"]["minutes"] > 0
    assert {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()} == {
        "image": ("tensor(float)", [3, 512, 512]), "noise": ("tensor(float)", [16, 16, 16]),
        "steps": ("tensor(int64)", [])}


def test_shipped_leaves_plain_gray_alone(shipped):
    x = torch.full((1, 3, 512, 512), 0.1)
    y = shipped(x, noise(), torch.tensor([4]))
    assert float((y - x).abs().mean()) < 0.01 and float((y - x).abs().max()) < 0.15


def face() -> np.ndarray:
    """The astronaut's head from scikit-image's public-domain portrait, enlarged to fill the frame."""
    image = Image.open(SAMPLES / "astronaut.png").convert("RGB")
    return np.asarray(image.crop((130, 10, 330, 210)).resize((512, 512), Image.LANCZOS))


def test_shipped_on_a_face(shipped):
    clear = face()
    worse = degrade(clear, Degradation(1.0, 4.0, 6.0, 70, 3))
    x, y = to_tensor([worse]), to_tensor([clear])
    out = shipped(x, noise(), torch.tensor([4]))
    assert float(out.std()) > 0.8 * float(x.std())  # not a solid colour
    assert psnr(out, y) > psnr(x, y)
    assert float((out - x).mean((2, 3)).abs().max()) < 0.01  # brightness and colour kept
    kept = shipped(y, noise(), torch.tensor([0]))
    assert psnr(kept, y) > 35  # a clear face is left about as it was
    assert not torch.equal(out, shipped(x, noise(), torch.tensor([0])))


def test_shipped_keeps_black_and_white(shipped):
    gray = np.repeat(np.rint(face().mean(2, keepdims=True)).astype(np.uint8), 3, 2)
    x = to_tensor([degrade(gray, Degradation(1.0, 1.0, 0.0, 100, 3))])
    x = x.mean(1, keepdim=True).repeat(1, 3, 1, 1)
    out = shipped(x, noise(), torch.tensor([4]))
    assert float((out.max(1)[0] - out.min(1)[0]).max()) < 1 / 255


def test_products_in_half_precision(network):
    """For GPUs; ONNX Runtime's CPU provider runs it too, by casting back what it has no kernels for."""
    data = export.export(network, {}, fast=True)
    graph = onnx.load_model_from_string(data)
    casts = {n.output[0]: n for n in graph.graph.node if n.op_type == "Cast"}
    convolutions = [n for n in graph.graph.node if n.op_type == "Conv"]
    assert len(convolutions) > 10
    assert all(casts[n.input[0]].attribute[0].i == onnx.TensorProto.FLOAT16 for n in convolutions)
    body = next(a.g for n in graph.graph.node if n.op_type == "Loop" for a in n.attribute if a.name == "body")
    assert any(n.op_type == "Cast" and ".compute_half." in n.name for n in body.node), "epsilon_theta too"
    assert [i.type.tensor_type.elem_type for i in graph.graph.input][:2] == [onnx.TensorProto.FLOAT] * 2
    figures = export.parity(network, data)
    assert figures["torch_vs_onnx"] < 0.02 < figures["residual"]
