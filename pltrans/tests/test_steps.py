"""`auto` decides as the Go host does: align/degradation_test.go has the same numbers."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from pltrans import steps


def waves(blur: float) -> torch.Tensor:
    """A formula's face: a pattern of falling energies, blurred; [1,3,512,512] in [-1, 1]."""
    i, k, total = np.arange(512), 0.02, np.full((512, 512), 0.5)
    while k < 3:
        column = 0.004 / k * np.exp(-k * k * blur * blur / 2) * np.sin(k * i + 20 * k)
        total += np.cos(0.8 * k * i)[:, None] * column
        k *= 1.4
    return torch.from_numpy(total.astype(np.float32)).expand(1, 3, 512, 512) * 2 - 1


@pytest.mark.parametrize("blur, wanted", [(1, 3.2494), (2, 3.6096), (4, 4.3095), (8, 4.7951)])
def test_the_measure_is_the_hosts(blur, wanted):
    assert steps.octaves(waves(blur)) == pytest.approx(wanted, abs=1e-3)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="512"):
        steps.octaves(torch.zeros(1, 3, 256, 256))


def test_steps_are_the_hosts():
    assert [steps.steps_for(v) for v in (0.0, 2.0, 3.49, 3.5, 4.24, 4.25, 5.0)] == [0, 0, 0, 4, 4, 8, 8]
