"""dlib's face recognition network (dlib_face_recognition_resnet_model_v1) in PyTorch, so that its descriptors can be
trained against: a perceptual feature of Eq. 10 that the product has anyway, and its measure of identity.

The weights are read from dlib's own file. The network is ResNet-29 with 128 outputs as dlib's example
dnn_face_recognition_ex.cpp defines it.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (122.782, 117.001, 104.298)  # RGB, of dlib's input layer, which then divides by 256
CHIP, PADDING = 150, 0.25  # side of the aligned chip and its padding, as get_face_chip_details(shape, 150, 0.25)
# dlib's five landmarks in a chip without padding (get_face_chip_details), and in the ffhq_512 crop (align.DLIB512).
IN_CHIP = ((0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677), (0.1205750620789, 0.2137274526848),
           (0.3340850613712, 0.2290642403242), (0.4901123135679, 0.6277975316475))
IN_CROP = ((339.971, 245.623), (291.458, 248.491), (170.600, 248.212), (219.108, 249.663), (255.898, 338.174))
# (width, blocks, the first block halves the size), from the input on
LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


def number(data: bytes, at: int) -> Tuple[int, int]:
    """One integer of dlib's serialisation (a byte with sign and length, then little-endian bytes) and where it ends."""
    size = data[at] & 0x0F
    value = int.from_bytes(data[at + 1:at + 1 + size], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + size


def tensor(data: bytes, at: int) -> Tuple[np.ndarray, int]:
    """A serialised dlib tensor, flat, and where it ends."""
    version, at = number(data, at)
    if version != 2:
        raise ValueError(f"tensor of version {version} where 2 was expected")
    count = 1
    for _ in range(4):
        size, at = number(data, at)
        count *= size
    return np.frombuffer(data, "<f4", count, at).copy(), at + 4 * count


def parameters(path: Path) -> List[np.ndarray]:
    """The parameters of every con, affine and fc layer of the file, from the input to the output."""
    data, found, at = path.read_bytes(), [], 0
    for name in re.finditer(rb"\x01[\x05\x07\x04](con_4|affine_|fc_2)", data):
        if name.start() < at:  # bytes of a weight that look like a name
            continue
        where = name.end()
        if name.group(1) == b"fc_2":  # its sizes come first
            for _ in range(2):
                _, where = number(data, where)
        values, at = tensor(data, where)
        found.append(values)
    if len(found) != 59:
        raise ValueError(f"{path}: {len(found)} layers with parameters instead of 59: not dlib's recognition network")
    return found


class Identity(nn.Module):
    """Aligned faces [n,3,S,S] RGB in [-1, 1] (template ffhq_512) -> descriptors [n,128]. Frozen.

    dlib aligns by the landmarks that it finds; here the template's own places are used, so that nothing is searched.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        layers = [torch.from_numpy(v) for v in parameters(path)]
        kernel, channels = 7, 3
        for i in range(29):
            weights, scale = layers[2 * i], layers[2 * i + 1]
            width = len(scale) // 2
            self.register_buffer(f"w{i}", weights[:-width].reshape(width, channels, kernel, kernel))
            gamma, beta = scale[:width], scale[width:]
            self.register_buffer(f"g{i}", gamma.reshape(1, -1, 1, 1))
            self.register_buffer(f"b{i}", (beta + gamma * weights[-width:]).reshape(1, -1, 1, 1))  # bias folded
            kernel, channels = 3, width
        self.register_buffer("fc", layers[58].reshape(256, 128))
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("chip", chip_to_crop())

    def conv(self, x: Tensor, i: int, stride: int, pad: int) -> Tensor:
        return F.conv2d(x, getattr(self, f"w{i}"), None, stride, pad) * getattr(self, f"g{i}") + getattr(self, f"b{i}")

    def align(self, x: Tensor) -> Tensor:
        """The 150x150 chips of crops, area-averaged first where the crop is finer than the chip."""
        side = x.shape[-1]
        grid = F.affine_grid(self.chip.expand(len(x), 2, 3), [len(x), 3, CHIP, CHIP], align_corners=False)
        if side >= 2 * CHIP:
            x = F.avg_pool2d(x, 2)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> List[Tensor]:
        """The activations after each level, fine to coarse, and the descriptors."""
        h = ((self.align(x.float()) + 1) * 127.5 - self.mean) / 256
        h = F.max_pool2d(F.relu(self.conv(h, 0, 2, 0)), 3, 2)
        i, kept = 1, []
        for _, blocks, halves in LEVELS:
            for block in range(blocks):
                down = halves and block == 0
                made = F.relu(self.conv(h, i, 2 if down else 1, 0 if down else 1))
                h = F.relu(padded_sum(self.conv(made, i + 1, 1, 1), F.avg_pool2d(h, 2) if down else h))
                i += 2
            kept.append(h)
        return kept + [h.mean((2, 3)) @ self.fc]


def padded_sum(a: Tensor, b: Tensor) -> Tensor:
    """a + b, the smaller filled up with zeros at the end of each dimension (dlib's add_prev)."""
    shape = [max(p, q) for p, q in zip(a.shape, b.shape)]

    def fill(t: Tensor) -> Tensor:
        return F.pad(t, (0, shape[3] - t.shape[3], 0, shape[2] - t.shape[2], 0, shape[1] - t.shape[1]))

    return fill(a) + fill(b)


def chip_to_crop() -> Tensor:
    """The similarity that takes places in the chip to places in the crop, both from -1 to 1, [1,2,3]."""
    chip = (np.array(IN_CHIP) + PADDING) / (1 + 2 * PADDING) * 2 - 1
    crop = (np.array(IN_CROP) + 0.5) / 512 * 2 - 1
    rows = [[x, -y, 1, 0] for x, y in chip] + [[y, x, 0, 1] for x, y in chip]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.concatenate([crop[:, 0], crop[:, 1]]), rcond=None)[0]
    return torch.tensor([[[a, -b, tx], [b, a, ty]]], dtype=torch.float32)
