"""The gate's fit: it closes on faces that are good, opens on others, and is written into the checkpoint."""
from __future__ import annotations

import torch

from pltrans import gate
from pltrans.config import tiny
from pltrans.data import Faces


def test_cases_are_the_squared_errors(network, faces):
    loader = Faces(faces, tiny())
    cases = gate.collect(network, loader, 4, 5)
    x, y, _ = loader.pair_batch(5, 0)
    with torch.no_grad():
        q, u, skips, energy = network.encode(x)
        delta = network.residual(x, q, u, skips)
        g = network.gate(energy, skips, q, delta)
        after = ((x + g.reshape(-1, 1, 1, 1) * delta - y) ** 2).mean((1, 2, 3))
        found, ratio = gate.gains(network, cases)
    assert torch.allclose(found[:2], g[:, 0], atol=1e-6)
    wanted = torch.log((after + gate.FLOOR) / (((x - y) ** 2).mean((1, 2, 3)) + gate.FLOOR))
    assert torch.allclose(ratio[:2], wanted, atol=1e-4)


def test_the_fit_separates_harm_from_help(network):
    n = network.gate.net[0].in_features
    stats = torch.randn(40, n)
    helps = stats[:, 0] > 0
    stats[:, 0] = 4 * helps - 2.0
    one = torch.full((40,), 1e-3)
    cases = {"stats": stats, "a": one, "b": torch.where(helps, one, -one), "c": 2 * one, "factor": one}
    gate.fit(network, cases, 600, 3e-3)
    with torch.no_grad():
        g, _ = gate.gains(network, cases)
    assert g[helps].min() > 0.7 and g[~helps].max() < 0.1
    assert "near-clean" not in gate.report("a", network, cases) and "dB" in gate.report("a", network, cases)


def test_the_command(tmp_path, faces, network, monkeypatch, capsys):
    weights = network.state_dict()
    record = {"config": network.cfg.to_dict(), "ema": weights, "model": dict(weights), "history": {}}
    torch.save(record, tmp_path / "m.pt")
    monkeypatch.setattr("sys.argv", ["gate", "--model", str(tmp_path / "m.pt"), "--data", str(faces), "--val", str(faces), "--count", "8"])
    gate.main()
    written = torch.load(tmp_path / "m.pt")
    changed = {k for k, v in written["ema"].items() if not torch.equal(v, weights[k])}
    assert changed and all(k.startswith("gate.") for k in changed)
    assert written["history"]["gate"] == {"faces": 8} and capsys.readouterr().out.count("faces:") == 4
