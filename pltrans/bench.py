"""Milliseconds a face, in ratio to a fixed stack of convolutions that runs side by side.

    python -m pltrans.bench restore/models/pltrans-s.onnx [OTHER.onnx ...]

Machines are shared and noisy: every model and the stack take turns, and medians are compared.
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from .restorers import session

LAYERS, WIDTH, SIDE = 8, 64, 128
GFLOP = LAYERS * 2 * 9 * WIDTH * WIDTH * SIDE * SIDE / 1e9  # 9.66


def stack() -> bytes:
    """The reference: eight 3x3 convolutions of 64 channels at 128x128 with ReLU, random weights, as an ONNX file."""
    rng, nodes, weights = np.random.default_rng(0), [], []
    for i in range(LAYERS):
        weights.append(numpy_helper.from_array((rng.standard_normal((WIDTH, WIDTH, 3, 3)) * 0.06).astype(np.float32), f"w{i}"))
        nodes += [helper.make_node("Conv", [f"r{i}", f"w{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
                  helper.make_node("Relu", [f"c{i}"], [f"r{i + 1}"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, WIDTH, SIDE, SIDE]) for n in ("r0", f"r{LAYERS}")]
    graph = helper.make_graph(nodes, "stack", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8).SerializeToString()


def feed(run: onnxruntime.InferenceSession, steps: int) -> Dict[str, np.ndarray]:
    """Random inputs for one face; `steps` where the model takes them."""
    rng, given = np.random.default_rng(0), {}
    for i in run.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in i.shape]
        given[i.name] = np.full(shape, steps, np.int64) if i.name == "steps" else rng.uniform(-1, 1, shape).astype(np.float32)
    return given


def medians(runs: Sequence[onnxruntime.InferenceSession], steps: int, rounds: int = 9) -> List[float]:
    """Median milliseconds of each session, measured in turns after one run to warm up."""
    feeds = [feed(run, steps) for run in runs]
    times: List[List[float]] = [[] for _ in runs]
    for round_ in range(rounds + 1):
        for kept, run, given in zip(times, runs, feeds):
            began = time.perf_counter()
            run.run(None, given)
            if round_:
                kept.append(1000 * (time.perf_counter() - began))
    return [float(np.median(t)) for t in times]


def table(models: Sequence[Path], steps: Sequence[int], threads: Sequence[int], rounds: int) -> str:
    """Rows: model and steps; columns: ms and ratio to the stack, per number of threads."""
    lines = ["| model | steps | " + " | ".join(f"{n} threads: ms | ratio" for n in threads) + " |", "|---" * (2 + 2 * len(threads)) + "|"]
    cells: Dict[tuple, List[str]] = {}
    for n in threads:
        runs = [session(stack(), n)] + [session(str(m), n) for m in models]
        for k in steps:
            reference, *own = medians(runs, k, rounds)
            for model, ms in zip(models, own):
                cells.setdefault((model.stem, k), []).append(f"{ms:.0f} | {ms / reference:.2f}")
            cells.setdefault((f"convolutions, {GFLOP:.1f} GFLOP", ""), []).append(f"{reference:.0f} | 1")
    for (name, k), values in cells.items():
        lines.append(f"| {name} | {k} | " + " | ".join(values[:len(threads)]) + " |")
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description="Milliseconds a face, in ratio to a stack of convolutions.")
    p.add_argument("models", type=Path, nargs="+")
    p.add_argument("--steps", default="0,4,8")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rounds", type=int, default=15)
    a = p.parse_args()
    print(table(a.models, [int(s) for s in a.steps.split(",")], [int(n) for n in a.threads.split(",")], a.rounds))


if __name__ == "__main__":
    main()
