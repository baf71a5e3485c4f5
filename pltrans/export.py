"""Write the network as one ONNX file by PLTRANS.md's contract, with its Spec in the metadata, and check it.

    python -m pltrans.export --model RUN/restore.pt --faces VALFACES --out restore/models/pltrans-s.onnx

The encoder, epsilon_theta and the decoder are traced, the loop over the steps is scripted: an ONNX Loop of
max(steps) trips with a mask per sample, so zero steps cost nothing. Weights are stored as float16 and cast
where they are used; ONNX Runtime folds the casts when it loads the file.
"""
from __future__ import annotations

import argparse
import datetime
import io
import json
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from .config import Config
from .data import list_faces, load_face, to_tensor
from .degrade import Degradation, degrade
from .model import PLTrans
from .restorers import session
from .train import load_model

OPSET = 16
VERSION = "0.6"
FP16_FROM = 256  # initialisers with fewer elements stay float32


class EncodePart(nn.Module):
    def __init__(self, model: PLTrans) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        q, u_lq, skips, energy = self.model.encode(x)
        return q, u_lq, skips[0], skips[1], energy


class StepPart(nn.Module):
    def __init__(self, model: PLTrans) -> None:
        super().__init__()
        self.model = model

    def forward(self, u: Tensor, u_lq: Tensor, noise: Tensor, left: Tensor) -> Tensor:
        return self.model.step(u, u_lq, noise, left)


class DecodePart(nn.Module):
    def __init__(self, model: PLTrans) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, q: Tensor, u: Tensor, fine: Tensor, middle: Tensor, energy: Tensor) -> Tensor:
        return self.model.decode(x, q, u, [fine, middle], energy)


class Whole(nn.Module):
    """PLTrans.forward with traced parts and a loop that scripting keeps."""

    def __init__(self, encode: nn.Module, step: nn.Module, decode: nn.Module, grid: Tensor) -> None:
        super().__init__()
        self.encode, self.step, self.decode = encode, step, decode
        self.register_buffer("grid", grid)

    def forward(self, image: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        q, u_lq, fine, middle, energy = self.encode(image)
        bar = self.grid[steps].reshape(-1, 1, 1, 1)
        u = bar.sqrt() * u_lq + (1 - bar).sqrt() * noise
        for i in range(int(steps.max())):
            u = self.step(u, u_lq, noise, steps - i)
        return self.decode(image, q, u, fine, middle, energy)


def scripted(model: PLTrans) -> torch.jit.ScriptModule:
    """The network with its loop over the steps as a script module."""
    cfg = model.cfg
    if len(cfg.fine_blocks) != 2:
        raise ValueError(f"export needs two skip levels, the configuration has {len(cfg.fine_blocks)}")
    x = torch.rand(2, 3, cfg.size, cfg.size) * 2 - 1
    noise = torch.randn(2, cfg.latent, cfg.side, cfg.side)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        q, u_lq, fine, middle, energy = (part := EncodePart(model))(x)
        encode = torch.jit.trace(part, (x,), check_trace=False)
        step = torch.jit.trace(StepPart(model), (u_lq, u_lq, noise, torch.tensor([1, 2])), check_trace=False)
        decode = torch.jit.trace(DecodePart(model), (x, q, u_lq, fine, middle, energy), check_trace=False)
        return torch.jit.script(Whole(encode, step, decode, model.grid))


def to_onnx(model: PLTrans) -> onnx.ModelProto:
    """The ONNX graph with float32 weights."""
    cfg = model.cfg
    x = torch.rand(2, 3, cfg.size, cfg.size) * 2 - 1
    noise = torch.randn(2, cfg.latent, cfg.side, cfg.side)
    buffer = io.BytesIO()
    extra = {"dynamo": False} if torch.__version__.split(".")[0] >= "2" else {}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(scripted(model), (x, noise, torch.tensor([1, 2])), buffer, opset_version=OPSET,
                          input_names=["image", "noise", "steps"], output_names=["restored"],
                          dynamic_axes={k: {0: "n"} for k in ("image", "noise", "steps", "restored")}, **extra)
    return onnx.load_model_from_string(buffer.getvalue())


def store_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Float32 initialisers and large Constants become float16 with a Cast to float32 behind each (in place)."""
    _store_half(graph.graph)
    return graph


def _store_half(g: onnx.GraphProto) -> None:
    casts: List[onnx.NodeProto] = []
    for tensor in g.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < FP16_FROM or np.abs(array).max() > 6e4:
            continue
        if tensor.name.endswith("_scale"):  # of int8: small, and read by the quantised operators themselves
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), name + ".half"))
        casts.append(helper.make_node("Cast", [name + ".half"], [name], name=name + ".cast", to=TensorProto.FLOAT))
    nodes = []
    for node in g.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _store_half(attribute.g)
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            array = numpy_helper.to_array(node.attribute[0].t)
            if array.dtype == np.float32 and array.size >= FP16_FROM and np.abs(array).max() <= 6e4:
                out = node.output[0]
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(array.astype(np.float16)))
                node.output[0] = out + ".half"
                nodes.append(node)
                nodes.append(helper.make_node("Cast", [out + ".half"], [out], name=out + ".cast",
                                              to=TensorProto.FLOAT))
                continue
        nodes.append(node)
    del g.node[:]
    g.node.extend(casts + nodes)


def compute_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Convolutions and matrix products compute in float16, all else (norms, softmax, distances, diffusion) in
    float32: for tensor cores (in place). Inputs and outputs stay float32."""
    _compute_half(graph.graph, {t.name: t for t in graph.graph.initializer})
    return graph


def _compute_half(g: onnx.GraphProto, known: Dict[str, onnx.TensorProto]) -> None:
    known = {**known, **{t.name: t for t in g.initializer}}
    made: Dict[str, str] = {}
    nodes: List[onnx.NodeProto] = []
    for node in g.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _compute_half(attribute.g, known)
        if node.op_type not in ("Conv", "MatMul", "Gemm") or known_type(node, known) != np.float32:
            nodes.append(node)
            continue
        for i, name in enumerate(node.input):
            if not name:
                continue
            if name not in made:  # one cast for all who read it in this graph
                made[name] = f"{name}.compute_half.{g.name}"
                nodes.append(helper.make_node("Cast", [name], [made[name]], name=made[name], to=TensorProto.FLOAT16))
            node.input[i] = made[name]
        out = node.output[0]
        node.output[0] = out + ".computed"
        nodes += [node, helper.make_node("Cast", [out + ".computed"], [out], name=out + ".float", to=TensorProto.FLOAT)]
    del g.node[:]
    g.node.extend(nodes)


def known_type(node: onnx.NodeProto, known: Dict[str, onnx.TensorProto]) -> Any:
    """The type of a product's operands: that of a weight among them, else float32 (there are no integer products)."""
    for name in node.input:
        if name in known:
            return numpy_helper.to_array(known[name]).dtype
    return np.float32


def spec(cfg: Config) -> Dict[str, Any]:
    """What the host must know about the file (DESIGN.md section 4)."""
    return {"family": "pltrans", "name": "pltrans-s", "version": VERSION, "size": cfg.size, "template": "ffhq_512",
            "range": [-1, 1], "colour_order": "RGB", "image_input": "image", "output": "restored",
            "extra_inputs": [
                {"name": "noise", "dtype": "float32", "shape": [cfg.latent, cfg.side, cfg.side],
                 "default": "normal"},
                {"name": "steps", "dtype": "int64", "shape": [], "default": 4, "min": 0, "max": cfg.max_steps}],
            "batchable": True, "licence": "Apache-2.0 (weights: see docs/model-card.md)"}


def training_summary(path: Path) -> Dict[str, Any]:
    """Steps, minutes and faces per stage from a checkpoint, and the sets of `sources.json` beside it, if any."""
    record = torch.load(path, map_location="cpu")
    summary: Dict[str, Any] = {"stages": record["history"],
                               "date": datetime.datetime.utcnow().strftime("%Y-%m-%d"),
                               "seed": record["config"]["seed"]}
    sources = path.parent / "sources.json"
    if sources.exists():
        summary["faces"] = json.loads(sources.read_text())
    return summary


def annotate(graph: onnx.ModelProto, cfg: Config, training: Dict[str, Any]) -> None:
    """Put Spec, training summary and configuration (for recover.py) into the file's metadata."""
    helper.set_model_props(graph, {"restored.spec": json.dumps(spec(cfg)), "restored.training": json.dumps(training),
                                   "restored.config": json.dumps(cfg.to_dict())})
    graph.producer_name, graph.doc_string = "restored/pltrans", "PLTrans-S blind face restoration"


def degraded_faces(folder: Path, cfg: Config) -> Tensor:
    """Three faces of `folder`, four times smaller: on drawn patterns a trained gate closes and hides differences."""
    files = list_faces(folder)
    picked = [files[i * (len(files) - 1) // 2] for i in range(3)]
    return to_tensor([degrade(load_face(f, cfg.size), Degradation(2.0, 4.0, 3.0, 80, 1)) for f in picked])


@torch.no_grad()
def parity(model: PLTrans, data: bytes, x: Optional[Tensor] = None, threads: int = 2) -> Dict[str, float]:
    """Largest differences: PyTorch against ONNX Runtime, and a batch of mixed steps against single faces.

    x is [3,3,S,S], random if None. `residual`, the largest change that the network makes to x, tells what the
    other two are to be compared with.
    """
    cfg, run = model.cfg, session(data, threads)
    generator = torch.Generator().manual_seed(3)
    if x is None:
        x = torch.rand(3, 3, cfg.size, cfg.size, generator=generator) * 2 - 1
    noise = torch.randn(3, cfg.latent, cfg.side, cfg.side, generator=generator)
    steps = torch.tensor([0, 3, 8])

    def ort(a: Tensor, b: Tensor, c: Tensor) -> np.ndarray:
        return run.run(None, {"image": a.contiguous().numpy(), "noise": b.numpy(), "steps": c.numpy()})[0]

    batch = ort(x, noise, steps)
    single = np.concatenate([ort(x[i:i + 1], noise[i:i + 1], steps[i:i + 1]) for i in range(3)])
    torch_out = model(x, noise, steps).numpy()
    return {"torch_vs_onnx": float(np.abs(batch - torch_out).max()),
            "batch_vs_single": float(np.abs(batch - single).max()),
            "residual": float(np.abs(torch_out - x.numpy()).max())}


def export(model: PLTrans, training: Dict[str, Any], half: bool = True, fast: bool = False) -> bytes:
    """The finished file's bytes; half: weights stored as float16; fast: products computed in it (for GPUs)."""
    graph = to_onnx(model.eval())
    if fast:
        compute_half(graph)
    if half:
        store_half(graph)
    annotate(graph, model.cfg, training)
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def main() -> None:
    p = argparse.ArgumentParser(description="Export a checkpoint to ONNX.")
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--float32", action="store_true", help="store the weights in full (twice the size)")
    p.add_argument("--compute-half", action="store_true", help="convolutions in float16, for GPUs (CPUs gain nothing)")
    p.add_argument("--faces", type=Path, required=True, help="faces on which the file is compared with PyTorch")
    p.add_argument("--limit", type=float, default=0.02, help="largest allowed difference to PyTorch, range -1..1")
    a = p.parse_args()
    model = load_model(a.model)
    data = export(model, training_summary(a.model), not a.float32, a.compute_half)
    figures = parity(model, data, degraded_faces(a.faces, model.cfg))
    if figures["torch_vs_onnx"] > a.limit:
        raise SystemExit(f"{a.out}: ONNX Runtime differs from PyTorch by {figures['torch_vs_onnx']:.2g}; not written")
    a.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = a.out.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.replace(a.out)
    print(f"{a.out}: {len(data) / 1e6:.1f} MB,", ", ".join(f"{k} {v:.2g}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
