"""A checkpoint from an exported file: to go on training from shipped weights, of which only the ONNX file is left.

    python -m pltrans.train --start restore/models/pltrans-s.onnx --stage restore --config ... --data ... --run ...

`train --start` uses it; the file's weights become those of the stage before. Convolutions and matrices keep their names
in the file; what the exporter folds is found by the graph's structure: the scale and shift behind every normalisation
(they come in the order in which the network runs), and r of Eq. 6 in front of its softmax. Stage 1's own head of G
(`G.whole`) isn't exported: only stage 1 and the applications use it, and `fit_whole` makes one for the latter. The frozen teacher of `restore` and
`finish` is lost too: E and the maps of the file take its place.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Tuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from .blocks import GroupNorm
from .config import Config, size_s
from .model import PLTrans

PASSED = ("Cast", "Unsqueeze", "Identity", "Reshape")  # between a weight and the operator that uses it


class Weights:
    """The initialisers of a graph and of all graphs inside it, as float32, and the nodes in the order in which they run."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.arrays: Dict[str, np.ndarray] = {}
        self.nodes: List[onnx.NodeProto] = []
        self.made: Dict[str, onnx.NodeProto] = {}
        self.users: Dict[str, List[onnx.NodeProto]] = {}
        self._read(graph)

    def _read(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self._keep(tensor.name, numpy_helper.to_array(tensor))
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._keep(node.output[0], numpy_helper.to_array(node.attribute[0].t))
            self.nodes.append(node)
            self.made.update({name: node for name in node.output})
            for name in node.input:
                self.users.setdefault(name, []).append(node)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    self._read(attribute.g)

    def _keep(self, name: str, array: np.ndarray) -> None:
        if array.dtype in (np.float16, np.float32):
            self.arrays[name] = array.astype(np.float32)

    def behind(self, name: str) -> Any:
        """The weight that reaches `name` through casts and changes of shape, or None."""
        while name not in self.arrays:
            node = self.made.get(name)
            if node is None or node.op_type not in PASSED:
                return None
            name = node.input[0]
        return self.arrays[name]

    def named(self) -> Dict[str, np.ndarray]:
        """Weights by the network's own names: without the part that was traced and the mark of float16 storage."""
        cut = {}
        for name, array in self.arrays.items():
            part, _, rest = name.partition(".model.")
            if part in ("encode", "step", "decode"):
                cut[rest[:-len(".half")] if rest.endswith(".half") else rest] = array
        return cut

    def norms(self) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Scale and shift of every group normalisation: those of the first product and sum behind it."""
        for node in self.nodes:
            if node.op_type == "InstanceNormalization":
                name, found = node.output[0], []
                while len(found) < 2:
                    node = self.users[name][0]
                    if node.op_type not in ("Mul", "Add", *PASSED):
                        raise ValueError(f"a normalisation is followed by {node.op_type}: not a PLTrans of ours")
                    if node.op_type in ("Mul", "Add"):
                        found.append(next(w for w in map(self.behind, node.input) if w is not None))
                    name = node.output[0]
                yield found[0], found[1]


def norm_order(model: PLTrans) -> List[str]:
    """Names of the group normalisations in the order in which the exported parts run them."""
    cfg, seen = model.cfg, []
    handles = [module.register_forward_hook(lambda *_, name=name: seen.append(name))
               for name, module in model.named_modules() if isinstance(module, GroupNorm)]
    noise, one = torch.zeros(1, cfg.latent, cfg.side, cfg.side), torch.ones(1, dtype=torch.int64)
    with torch.no_grad():
        q, u, skips, energy = model.encode(torch.zeros(1, 3, cfg.size, cfg.size))
        model.step(u, u, noise, one)
        model.decode(torch.zeros(1, 3, cfg.size, cfg.size), q, u, skips, energy)
    for handle in handles:
        handle.remove()
    return seen


def unused(cfg: Config) -> Tuple[str, ...]:
    """Beginnings of the names that an export of `cfg` has no use for."""
    off = ["G.whole."]
    if not cfg.use_dictionary:
        off += ["prior.V", "prior.r"]
    if not cfg.use_phi:
        off += ["prior.phi_", "prior.ffn."]
    return tuple(off)


def network(graph: onnx.ModelProto, cfg: Config) -> PLTrans:
    """The network of an exported file; `cfg` tells its sizes. Weights of another network are an error."""
    model, weights = PLTrans(cfg).eval(), Weights(graph.graph)
    found = weights.named()
    order, norms = norm_order(model), list(weights.norms())
    if len(order) != len(norms):
        raise ValueError(f"the file has {len(norms)} normalisations, this configuration's network {len(order)}")
    for name, (scale, shift) in zip(order, norms):
        found[name + ".weight"], found[name + ".bias"] = scale.reshape(-1), shift.reshape(-1)
    for node in weights.nodes:
        if node.op_type == "Softmax" and (r := weights.behind(node.input[0])) is not None:
            found["prior.r"] = r
    state = model.state_dict()
    for name, old in state.items():
        if name in ("bars", "grid", "eps.freqs") or name.startswith(unused(cfg)):
            continue  # they follow from the configuration, or aren't in the file
        if name not in found or found[name].size != old.numel():
            what = "isn't in the file" if name not in found else f"has {found[name].size} numbers, not {old.numel()}"
            raise ValueError(f"{name} {what}: give the configuration that it was exported with")
        state[name] = torch.from_numpy(found[name].copy()).reshape(old.shape)
    model.load_state_dict(state)
    return model


@torch.no_grad()
def fit_whole(model: PLTrans, faces: Iterable[Tensor]) -> None:
    """Make G.whole anew: the convolution that gives clear faces [1,3,S,S] back from G's last features, by least squares.

    It lets a recovered network decode latents to pictures without skips (applications.py).
    """
    head, r = model.G.whole, model.cfg.unshuffle
    gram, target, kept = 0.0, 0.0, []
    handle = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    for y in faces:
        q = model.E(y)
        model.G(model.latent(q, model.maps.encode(q)[0]), None)
        columns = F.unfold(kept.pop().float(), 3, padding=1)[0].t().double()
        columns = torch.cat([columns, torch.ones(len(columns), 1, dtype=columns.dtype)], 1)
        wanted = F.pixel_unshuffle(y, r).flatten(2)[0].t().double()
        gram, target = gram + columns.t() @ columns, target + columns.t() @ wanted
    handle.remove()
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    found = torch.linalg.solve(gram + ridge, target).t().float()
    head.weight.copy_(found[:, :-1].reshape(head.weight.shape))
    head.bias.copy_(found[:, -1])


def metadata(graph: onnx.ModelProto) -> Dict[str, Any]:
    """The file's metadata of ours; empty where there is none."""
    return {p.key: json.loads(p.value) for p in graph.metadata_props if p.key.startswith("restored.")}


def load(path: Path) -> Dict[str, Any]:
    """A checkpoint, or as much of one as an exported file (.onnx) holds."""
    return record(path) if path.suffix == ".onnx" else torch.load(path, map_location="cpu")


def record(path: Path) -> Dict[str, Any]:
    """What `train.begin` reads from a checkpoint: configuration, weights, teacher, and how they came to be."""
    graph = onnx.load(str(path))
    told = metadata(graph)
    cfg = Config.from_dict(told["restored.config"]) if "restored.config" in told else size_s()
    model = network(graph, cfg)
    past = told.get("restored.training", {})
    earlier = {"version": told.get("restored.spec", {}).get("version"),
               **{k: past[k] for k in ("date", "stages") if k in past}}
    state = model.state_dict()
    teacher: Dict[str, Dict[str, Tensor]] = {"E": model.E.state_dict(), "maps": model.maps.state_dict()}
    return {"config": cfg.to_dict(), "model": state, "ema": state, "state": {"teacher": teacher},
            "history": {"earlier": earlier}}
