"""The benchmark runs and compares with what it says."""
from __future__ import annotations

import numpy as np
import onnx

from pltrans import bench, export


def test_the_stack_has_the_operations_that_it_names():
    graph = onnx.load_model_from_string(bench.stack())
    onnx.checker.check_model(graph)
    weights = sum(int(np.prod(t.dims)) for t in graph.graph.initializer)
    assert round(2 * weights * bench.SIDE ** 2 / 1e9, 2) == round(bench.GFLOP, 2) == 9.66


def test_table(tmp_path, network):
    (tmp_path / "tiny.onnx").write_bytes(export.export(network, {}))
    rows = bench.table([tmp_path / "tiny.onnx"], [0, 2], [1], 1).splitlines()
    assert any(row.startswith("| tiny | 0 |") for row in rows)
    assert len(rows) == 5 and float(rows[-1].split("|")[4]) > 0
