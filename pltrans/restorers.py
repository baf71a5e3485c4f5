"""What evaluation compares: nothing, bicubic, PLTrans at a number of steps, and any ONNX restorer by its Spec."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple, Union

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Config

Restore = Callable[[Tensor, str, float], Tensor]  # image [1,3,S,S], the face's name, b -> image
Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # image, noise, steps -> image


def noise_for(name: str, cfg: Config) -> Tensor:
    """The noise of a face: seeded by its name, so that two runs agree."""
    seed = int.from_bytes(name.encode()[-7:], "little")
    return torch.randn(1, cfg.latent, cfg.side, cfg.side, generator=torch.Generator().manual_seed(seed))


def untouched(x: Tensor, name: str, b: float) -> Tensor:
    return x


def bicubic(x: Tensor, name: str, b: float) -> Tensor:
    """The face at its true size, enlarged by bicubic interpolation: the classic baseline."""
    small = max(8, round(x.shape[-1] / max(b, 1.0)))
    down = F.interpolate(x, size=(small, small), mode="area") if b > 1 else x
    return F.interpolate(down, size=x.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)


def at_steps(run: Network, cfg: Config, steps: int) -> Restore:
    """PLTrans with a fixed number of steps; `run` takes image, noise and steps."""
    return lambda x, name, b: run(x, noise_for(name, cfg), torch.tensor([steps]))


def remembered(run: Network) -> Network:
    """`run` that knows its results for the last image, by the steps (the noise is the face's own)."""
    last: Dict[int, Tensor] = {}
    seen: List[Tensor] = []

    def once(x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        if not seen or seen[0] is not x:
            seen[:] = [x]
            last.clear()
        key = int(steps[0])
        if key not in last:
            last[key] = run(x, noise, steps)
        return last[key]

    return once


def session(data: Union[str, bytes], threads: int = 2) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU over a file's name or bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def read_spec(path: Path, run: onnxruntime.InferenceSession) -> Dict[str, Any]:
    """The Spec (DESIGN.md section 4): FILE.json beside the model, else the metadata `restored.spec`."""
    beside = path.with_suffix(".json")
    text = beside.read_text() if beside.exists() else run.get_modelmeta().custom_metadata_map.get("restored.spec")
    if not text:
        raise ValueError(f"{path}: no Spec: write {beside.name} beside it")
    return json.loads(text)


def by_spec(path: Path, threads: int = 2) -> Restore:
    """An ONNX restorer by its Spec: size, range, colour order, extra inputs at their defaults."""
    run = session(str(path), threads)
    spec = read_spec(path, run)
    types = {i.name: i.type for i in run.get_inputs()}
    image = spec.get("image_input") or run.get_inputs()[0].name
    output = spec.get("output") or run.get_outputs()[0].name
    low, high = spec["range"]
    order = [2, 1, 0] if spec.get("colour_order", "RGB") == "BGR" else [0, 1, 2]

    def restore(x: Tensor, name: str, b: float) -> Tensor:
        size = spec["size"]
        if x.shape[-1] != size:
            x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        feed = {image: (low + (x[:, order] + 1) / 2 * (high - low)).numpy().astype(np.float32)}
        for extra in spec.get("extra_inputs", []):
            shape = [1] + list(extra.get("shape") or [])
            if extra.get("default") == "normal":
                seed = int.from_bytes(name.encode()[-7:], "little") % 2 ** 32
                feed[extra["name"]] = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
            else:
                kind = {"tensor(int64)": np.int64, "tensor(double)": np.float64}.get(types[extra["name"]], np.float32)
                feed[extra["name"]] = np.full(shape, extra.get("default", 0), kind)
        made = torch.from_numpy(run.run([output], feed)[0].astype(np.float32))[:, order]
        return ((made - low) / (high - low) * 2 - 1).clamp(-1, 1)

    return restore


def sizes(spec: Dict[str, Any]) -> Config:
    """A Config with the sizes of image and noise that a PLTrans's Spec tells; the network's own are not in it."""
    latent, side, _ = spec["extra_inputs"][0]["shape"]
    levels = (spec["size"] // Config.unshuffle // side).bit_length()
    return Config(size=spec["size"], latent=latent, channels=Config.channels[-levels:])


def ours(path: Path, threads: int = 2) -> Tuple[Network, Config]:
    """PLTrans from a checkpoint or an exported file, as a function of image, noise and steps, and its sizes."""
    if path.suffix != ".onnx":
        from .train import load_model

        model = load_model(path)
        return model, model.cfg
    run = session(str(path), threads)
    spec = read_spec(path, run)

    def restore(x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        feed = {"image": x.contiguous().numpy(), "noise": noise.numpy(), "steps": steps.numpy()}
        return torch.from_numpy(run.run(None, feed)[0])

    return restore, sizes(spec)
