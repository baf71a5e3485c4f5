"""The step study: its figures are the network's, its table and plot are written."""
from __future__ import annotations

import copy

import pytest
import torch

from pltrans import study
from pltrans.evaluate import pair
from pltrans.measures import psnr
from pltrans.restorers import noise_for


def test_rows_are_the_networks_own(tmp_path, network, faces):
    files = sorted(faces.rglob("*.png"))[:2]
    teacher = {"E": copy.deepcopy(network.E.state_dict()), "maps": copy.deepcopy(network.maps.state_dict())}
    rows = study.study(network, teacher, files, (8.0,), (0, 3))
    assert [(r["b"], r["steps"]) for r in rows] == [(8.0, 0), (8.0, 3)]
    wanted = []
    with torch.no_grad():
        for i, path in enumerate(files):
            x, y = pair(path, i, 8.0, network.cfg, 7)
            wanted.append(psnr(network(x, noise_for(path.name, network.cfg), torch.tensor([3])), y))
    assert rows[1]["psnr"] == pytest.approx(sum(wanted) / 2, abs=1e-3)
    assert rows[1]["distance"] != rows[0]["distance"] > 0
    assert study.markdown(rows).count("\n") == 4 and "identity" not in study.markdown(rows)
    study.plot(rows, tmp_path / "steps.png")
    assert (tmp_path / "steps.png").stat().st_size > 1000
