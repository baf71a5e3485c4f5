"""Aligned faces from a folder, and batches of degraded and clear ones that depend on seed and number only."""
from __future__ import annotations

import csv
import queue
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .config import Config
from .degrade import degrade, draw, draw_clean, fade, old_media

SUFFIXES = {".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def list_faces(folder: Path) -> List[Path]:
    """Every image under `folder`, sorted; an error if there is none."""
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no images under {folder}: give a folder of aligned faces")
    return files


def load_face(path: Path, size: int = 512) -> np.ndarray:
    """An 8-bit RGB face [size,size,3]; another size is resampled."""
    image = Image.open(path).convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.LANCZOS)
    return np.asarray(image)


def manifest(folder: Path) -> Dict[Path, Dict[str, str]]:
    """Rows of manifest.csv (in `folder` or the folder above it) by the file they describe; empty without one."""
    for root in (Path(folder), Path(folder).parent):
        if (root / "manifest.csv").exists():
            with open(root / "manifest.csv", newline="") as handle:
                return {root / row["path"]: row for row in csv.DictReader(handle)}
    return {}


def sources(folder: Path) -> List[Dict[str, object]]:
    """What `folder` holds by set, kind and licence (from the manifest), most first; without one, only a count."""
    files, rows = list_faces(folder), manifest(folder)
    unknown = {"set": Path(folder).name, "kind": "unknown", "licence": "unknown"}
    count = Counter(tuple(rows.get(p, unknown)[k] for k in ("set", "kind", "licence")) for p in files)
    return [{"set": s, "kind": k, "licence": l, "faces": n} for (s, k, l), n in count.most_common()]


def to_tensor(images: List[np.ndarray]) -> Tensor:
    """8-bit RGB images to [n,3,S,S] in [-1, 1]."""
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


class Faces:
    """Training faces, decoded once and kept in memory; photographs are drawn for `cfg.p_real` of a batch."""

    def __init__(self, folder: Path, cfg: Config) -> None:
        self.cfg, self.files = cfg, list_faces(folder)
        rows = manifest(folder)
        self.real = [p for p in self.files if rows.get(p, {}).get("kind") == "photograph"]
        self.other = [p for p in self.files if rows.get(p, {}).get("kind") != "photograph"]
        self.kept: Dict[Path, np.ndarray] = {}

    def face(self, path: Path) -> np.ndarray:
        if path not in self.kept:
            self.kept[path] = load_face(path, self.cfg.size)
        return self.kept[path]

    def clear(self, rng: np.random.Generator) -> np.ndarray:
        """A random clear face: flipped half of the time, black-and-white for `cfg.p_gray`."""
        use_real = self.real and (not self.other or rng.random() < self.cfg.p_real)
        files = self.real if use_real else self.other
        image = self.face(files[int(rng.integers(len(files)))])
        if rng.random() < 0.5:
            image = image[:, ::-1]
        if rng.random() < self.cfg.p_gray:
            gray = np.rint(image @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)
            image = np.repeat(gray[..., None], 3, 2)
        return np.ascontiguousarray(image)

    def clear_batch(self, stage: int, step: int) -> Tuple[Tensor]:
        """Batch number `step` of clear faces; the same for the same seed, stage and step."""
        rng = np.random.default_rng([self.cfg.seed, stage, step])
        return (to_tensor([self.clear(rng) for _ in range(self.cfg.batch)]),)

    def pair_batch(self, stage: int, step: int) -> Tuple[Tensor, Tensor, Tensor]:
        """Degraded faces, clear faces, and b [n] of each."""
        cfg, rng = self.cfg, np.random.default_rng([self.cfg.seed, stage, step])
        low, high, b = [], [], []
        for _ in range(cfg.batch):
            image, p = self.clear(rng), rng.random()
            if p < cfg.p_clean:
                d = draw_clean(rng)
            else:
                d = draw(rng, cfg.b_low, cfg.b_mild if rng.random() < cfg.p_mild else cfg.b_high)
            aged = p >= cfg.p_clean and rng.random() < cfg.p_old
            if aged and rng.random() < 0.3:
                image = fade(image, rng)
            high.append(image)
            low.append(old_media(degrade(image, replace(d, b=min(d.b, 8.0))), rng) if aged else degrade(image, d))
            b.append(min(d.b, 8.0) if aged else d.b)
        return to_tensor(low), to_tensor(high), torch.tensor(b)


def ahead(make: Callable[[int], Tuple], first: int, depth: int = 3) -> Iterator[Tuple]:
    """make(first), make(first + 1), ... prepared in one background thread, at most `depth` ahead."""
    ready: "queue.Queue" = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def work() -> None:
        torch.set_num_threads(1)
        step = first
        while not stop.is_set():
            try:
                item = make(step)
            except Exception as error:  # handed to the consumer, which raises it
                item = error
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            step += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
