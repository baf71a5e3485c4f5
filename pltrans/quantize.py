"""Static int8 of the exported network: `pltrans-s-int8`.

    python -m pltrans.quantize --model restore/models/pltrans-s.onnx --faces TRAINFACES --val VALFACES --out FILE

Convolutions become QLinearConv (through QDQ; weights int8 per channel, activations uint8), calibrated on degraded
training faces. epsilon_theta stays float: the quantiser doesn't enter the Loop, and its steps feed on each other's
results. What carries noise-sized signals stays float too, see FLOAT. The file is written only if the mean loss of
PSNR on validation faces, against the float network at every degradation, is under --limit.
"""
from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from .bench import medians
from .config import Config
from .data import list_faces
from .evaluate import pair, spread
from .measures import psnr
from .export import store_half
from .restorers import noise_for, ours, session, sizes

FACTORS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
# Parts of the graph, by the module's name in the node's: the gate sees logarithms of energies, and the last convolution
# of G writes the residual's pixels.
FLOAT = ("/gate/", "/G/residual/", "/G/whole/")


def full_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Fold the Casts of float16 storage (export.store_half) back into float32 initialisers, outside of subgraphs."""
    g = graph.graph
    halves = {t.name: t for t in g.initializer if t.data_type == TensorProto.FLOAT16}
    kept = []
    for node in g.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            tensor = halves[node.input[0]]
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, node.output[0]))
        else:
            kept.append(node)
    del g.node[:]
    g.node.extend(kept)
    return graph


class Reader(CalibrationDataReader):
    """Degraded training faces with all numbers of steps, one at a time."""

    def __init__(self, files: Sequence[Path], cfg: Config, seed: int = 11) -> None:
        self.items = self.draw(files, cfg, seed)

    @staticmethod
    def draw(files: Sequence[Path], cfg: Config, seed: int) -> Iterator[Dict[str, np.ndarray]]:
        for i, path in enumerate(files):
            x, _ = pair(path, i, FACTORS[i % len(FACTORS)], cfg, seed)
            yield {"image": x.contiguous().numpy(), "noise": noise_for(path.name, cfg).numpy(),
                   "steps": np.array([(0, 2, 4, 8)[i % 4]], np.int64)}

    def get_next(self) -> Any:
        return next(self.items, None)


def picked(files: List[Path], count: int) -> List[Path]:
    order = np.random.default_rng(5).permutation(len(files))
    return [files[i] for i in order[:count]]


def static_int8(graph: onnx.ModelProto, reader: CalibrationDataReader, leave: Sequence[str] = FLOAT) -> onnx.ModelProto:
    """The graph with its convolutions outside `leave` in int8, and what stays float stored as float16."""
    metadata = {p.key: p.value for p in graph.metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(full_weights(graph), str(source))
        named = onnx.load(str(source))
        for i, node in enumerate(named.graph.node):
            node.name = node.name or f"{node.op_type}_{i}"
        left = [n.name for n in named.graph.node if n.op_type == "Conv" and is_left(n, leave)]
        onnx.save(named, str(source))
        quantize_static(str(source), str(target), reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
                        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        calibrate_method=CalibrationMethod.MinMax, nodes_to_exclude=left,
                        extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05})
        made = onnx.load(str(target))
    helper.set_model_props(made, metadata)
    return store_half(made)


def is_left(node: onnx.NodeProto, leave: Sequence[str]) -> bool:
    """Whether a convolution stays float: by its own name or by its weight's, as exporters differ in what they keep."""
    names = "/" + "/".join([node.name, *node.input]).replace(".", "/") + "/"
    return any(part in names for part in leave)


@torch.no_grad()
def losses(float_file: Path, int8_file: Path, files: Sequence[Path], threads: int) -> List[Tuple[float, float, float, float]]:
    """Per degradation: b, and the mean PSNR of input, float and int8 outputs at 4 steps."""
    whole, cfg = ours(float_file, threads)
    small, _ = ours(int8_file, threads)
    rows = []
    for b in FACTORS:
        got = []
        for i, path in enumerate(files):
            x, y = pair(path, i, b, cfg, 7)
            noise, steps = noise_for(path.name, cfg), torch.tensor([4])
            got.append([psnr(r, y) for r in (x, whole(x, noise, steps), small(x, noise, steps))])
        rows.append((b, *np.mean(got, 0)))
    return rows


def main() -> None:
    p = argparse.ArgumentParser(description="Quantise an exported PLTrans to int8 and measure what it costs.")
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--faces", type=Path, required=True, help="training faces to calibrate on")
    p.add_argument("--val", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--count", type=int, default=96, help="faces to calibrate on")
    p.add_argument("--val-count", type=int, default=16)
    p.add_argument("--limit", type=float, default=0.1, help="largest mean loss in dB at any degradation")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    graph = onnx.load(str(a.model))
    spec = json.loads({m.key: m.value for m in graph.metadata_props}["restored.spec"])
    cfg = sizes(spec)
    made = static_int8(graph, Reader(picked(list_faces(a.faces), a.count), cfg))
    spec["name"] += "-int8"
    props = {m.key: m.value for m in made.metadata_props}
    props.update({"restored.spec": json.dumps(spec), "restored.calibration": json.dumps({"faces": a.count, "b": FACTORS})})
    helper.set_model_props(made, props)
    temporary = a.out.with_suffix(".tmp.onnx")
    onnx.save(made, str(temporary))
    worst = 0.0
    for b, before, whole, small in losses(a.model, temporary, spread(a.val, a.val_count), a.threads):
        worst = max(worst, whole - small)
        print(f"b={b:g}: input {before:.2f} dB, float {whole:.2f}, int8 {small:.2f}")
    for threads in (1, 2):
        whole, small = medians([session(str(f), threads) for f in (a.model, temporary)], 0)
        print(f"{threads} threads: float {whole:.0f} ms a face, int8 {small:.0f}: {whole / small:.2f} times faster")
    if worst > a.limit:
        temporary.unlink()
        raise SystemExit(f"{a.out}: int8 loses up to {worst:.3f} dB, the limit is {a.limit}: not written")
    temporary.replace(a.out)
    print(f"{a.out}: {a.out.stat().st_size / 1e6:.1f} MB, loses {worst:.3f} dB at most")


if __name__ == "__main__":
    main()
