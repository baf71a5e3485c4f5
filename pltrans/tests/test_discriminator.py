"""The discriminator learns within a few steps what it is there for: that a picture is soft."""
from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from pltrans.config import tiny
from pltrans.data import Faces
from pltrans.discriminator import Discriminator, d_loss


def test_it_tells_soft_from_sharp(faces):
    cfg = dataclasses.replace(tiny(), batch=6)
    y = Faces(faces, cfg).clear_batch(1, 0)[0]
    y = (y + 0.1 * torch.randn(y.shape)).clamp(-1, 1)  # the drawn faces have no texture of their own
    soft = F.interpolate(F.avg_pool2d(y, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    D, counts = Discriminator(cfg), torch.ones(6)
    optim = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.99))
    for _ in range(60):
        loss = d_loss(D(y)[0], D(soft)[0], counts)
        optim.zero_grad()
        loss.backward()
        optim.step()
    assert float(loss) < 0.5, "2 is a discriminator that knows nothing"
