"""Shapes, the Haar swap, and the promises that the graph keeps by construction."""
from __future__ import annotations

import torch

from pltrans.config import Config, size_s, tiny
from pltrans.diffusion import add_noise, alphas_cumprod, haar_swap, predict_u0
from pltrans.model import PLTrans


def inputs(cfg: Config, n: int = 2):
    return (torch.rand(n, 3, cfg.size, cfg.size) * 2 - 1, torch.randn(n, cfg.latent, cfg.side, cfg.side))


def haar(x):
    """Textbook orthonormal one-level Haar transform: low, and three high bands, of even-sized x."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return (a + b + c + d) / 2, ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2)


def inverse(low, high):
    h, v, d = high
    out = low.new_empty(*low.shape[:-2], low.shape[-2] * 2, low.shape[-1] * 2)
    out[..., ::2, ::2], out[..., ::2, 1::2] = (low + h + v + d) / 2, (low - h + v - d) / 2
    out[..., 1::2, ::2], out[..., 1::2, 1::2] = (low + h - v - d) / 2, (low - h - v + d) / 2
    return out


def test_haar_swap_is_dwt_swap_and_inverse():
    u, u_lq = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    assert torch.allclose(inverse(*haar(u)), u, atol=1e-6)
    swapped = inverse(haar(u_lq)[0], haar(u)[1])
    assert torch.allclose(haar_swap(u, u_lq), swapped, atol=1e-5)
    assert torch.allclose(haar_swap(u, u), u, atol=1e-6)


def test_schedule_and_direct_estimate():
    bars = alphas_cumprod(size_s())
    assert len(bars) == 1001 and bars[0] == 1 and bool((bars[1:] < bars[:-1]).all())
    u, noise, bar = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4), bars[240].reshape(1, 1, 1, 1)
    assert torch.allclose(predict_u0(add_noise(u, noise, bar), noise, bar), u, atol=1e-4)


def test_shapes(network):
    cfg = network.cfg
    x, noise = inputs(cfg)
    q, u, skips, energy = network.encode(x)
    assert q.shape == (2, cfg.channels[-1], cfg.side, cfg.side) and u.shape == noise.shape
    assert [s.shape[1] for s in skips] == list(cfg.channels[:2]) and energy.shape == (2, 4)
    y = network(x, noise, torch.tensor([0, 3]))
    assert y.shape == x.shape and float(y.abs().max()) <= 1


def test_size_s_is_the_specified_one():
    cfg = size_s()
    model = PLTrans(cfg)
    assert cfg.side == 16 and model.prior.V.shape == (512, 160)
    assert 9.0e6 < sum(p.numel() for p in model.parameters()) < 10.0e6
    assert Config.from_dict(cfg.to_dict()) == cfg


def test_untrained_network_is_the_identity(config):
    model = PLTrans(config).eval()
    x, noise = inputs(config)
    with torch.no_grad():
        assert torch.equal(model(x, noise, torch.tensor([0, 4])), x)


def test_steps_and_noise_change_the_output_and_repeat(network):
    x, noise = inputs(network.cfg, 1)
    with torch.no_grad():
        y0, y8 = (network(x, noise, torch.tensor([n])) for n in (0, 8))
        assert float((y0 - y8).abs().max()) > 1e-4
        assert torch.equal(y8, network(x, noise, torch.tensor([8])))
        assert torch.equal(y0, network(x, torch.randn_like(noise), torch.tensor([0])))


def test_batch_of_mixed_steps_equals_single_faces(network):
    x, noise = inputs(network.cfg, 3)
    steps = torch.tensor([0, 2, 7])
    with torch.no_grad():
        batch = network(x, noise, steps)
        for i in range(3):
            one = network(x[i:i + 1], noise[i:i + 1], steps[i:i + 1])
            assert float((batch[i:i + 1] - one).abs().max()) < 1e-5


def test_gray_stays_gray_and_colour_and_brightness_stay(network):
    x, noise = inputs(network.cfg)
    x = x * 0.3
    gray = x.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()
    with torch.no_grad():
        out = network(gray, noise, torch.tensor([0, 4]))
        assert float((out - gray).abs().max()) > 1e-3
        assert float((out - out.mean(1, keepdim=True)).abs().max()) < 1e-5
        change = network(x, noise, torch.tensor([0, 4])) - x
    assert float(change.mean((2, 3)).abs().max()) < 0.1 * float(change.abs().mean())


def test_retrieval_takes_the_nearest_elements(network):
    prior = network.prior
    z = prior.V[:4].t().reshape(1, -1, 2, 2).repeat(1, 1, 2, 2)
    with torch.no_grad():
        prior.r.copy_(torch.tensor([50.0, 0, 0, 0]))
        mixed, nearest = prior.retrieve(z)
    assert nearest.reshape(4, 4)[:2, :2].flatten().tolist() == [0, 1, 2, 3]
    assert torch.allclose(mixed, z, atol=1e-4)
