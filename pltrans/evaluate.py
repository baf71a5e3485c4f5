"""The paper's protocol and ours: restorers compared on degraded validation faces, by degradation and kind of face.

    python -m pltrans.evaluate --model restore/models/pltrans-s.onnx --faces VALFACES --out OUT

writes OUT/table.md, OUT/faces.json (every figure of every face) and OUT/sheet.jpg. `auto` are the steps that `restored`
takes (steps.py). PSNR, SSIM, dlib's identity
distance and gradient energy are always measured; LPIPS, FID and CosFace's similarity (IDS) with networks that
the user gives as TorchScript files, as their licences don't let us ship them:

    --lpips FILE    two images [n,3,S,S] in [-1, 1] -> distance [n]
    --fid FILE      images [n,3,299,299] in [0, 1] -> Inception features [n,d]
    --cosface FILE  aligned faces [n,3,112,112] RGB in [-1, 1] -> embeddings [n,d]
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from .config import Config
from .data import list_faces, load_face, manifest, to_tensor
from .degrade import degrade, draw, draw_clean
from .identity import Identity
from .measures import frechet, gradient_energy, psnr, skin_tone, ssim
from .restorers import Restore, at_steps, bicubic, by_spec, noise_for, ours, remembered, untouched
from .steps import auto, octaves

# The paper's Table 2: FID, LPIPS, PSNR, IDS on 2,000 faces of CelebA-Test at x16, x32 and x64. Other faces than ours.
PAPER = {
    "GFPGAN": ((40.83, .3583, 21.00, .6446), (107.65, .4334, 18.91, .2523), (159.24, .4590, 18.41, .1679)),
    "GPEN": ((25.82, .3781, 20.28, .7126), (36.22, .4339, 18.62, .5698), (45.12, .4512, 18.20, .5011)),
    "DR2": ((35.18, .4115, 21.09, .5965), (43.41, .4276, 19.62, .5273), (49.64, .4560, 19.14, .4721)),
    "PLTrans (paper)": ((19.64, .3207, 22.13, .7412), (32.36, .3978, 19.91, .5963), (39.58, .4270, 19.36, .5264)),
}
FACTORS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # 0 = near-clean


def spread(folder: Path, count: int) -> List[Path]:
    """About `count` faces, every set of `folder` represented (sets are taken in turn)."""
    by_set: Dict[str, List[Path]] = {}
    for path in list_faces(folder):
        by_set.setdefault(path.parent.name, []).append(path)
    picked = [v[i] for i in range(max(map(len, by_set.values()))) for v in by_set.values() if i < len(v)]
    return picked[:count] if count else picked


def pair(path: Path, index: int, b: float, cfg: Config, seed: int) -> Tuple[Tensor, Tensor]:
    """The degraded and the clear face number `index`: the same for the same seed."""
    rng = np.random.default_rng([seed, index])
    clear = load_face(path, cfg.size)
    return to_tensor([degrade(clear, draw(rng, b, b) if b > 0 else draw_clean(rng))]), to_tensor([clear])


@torch.no_grad()
def table(restore: Any, cfg: Config, files: Sequence[Path], factors: Sequence[float], steps: Sequence[int],
          seed: int = 7) -> List[Dict[str, Any]]:
    """One row per factor (0 = near-clean): mean PSNR and SSIM of the input and of the output at each step count."""
    rows = []
    for factor in factors:
        got: Dict[str, List[float]] = {}
        for i, path in enumerate(files):
            x, y = pair(path, i, factor, cfg, seed)
            outputs = {"in": x}
            for n in steps:
                outputs[f"out{n}"] = restore(x, noise_for(path.name, cfg), torch.tensor([n]))
            for name, image in outputs.items():
                got.setdefault(f"psnr_{name}", []).append(psnr(image, y))
                got.setdefault(f"ssim_{name}", []).append(ssim(image, y))
            last = got[f"psnr_out{steps[-1]}"][-1] - got["psnr_in"][-1]
            got.setdefault("not_worse", []).append(float(last > -0.05))
        rows.append({"b": factor, "n": len(files), **{k: round(float(np.mean(v)), 4) for k, v in got.items()}})
    return rows


class Judges:
    """The networks that measure: dlib's where its file is, the user's where they were given."""

    def __init__(self, dlib: Optional[Path], lpips: Optional[Path] = None, fid: Optional[Path] = None,
                 cosface: Optional[Path] = None) -> None:
        self.dlib = Identity(dlib).eval() if dlib else None
        self.truth: Tuple[Optional[Tensor], Optional[Tensor]] = (None, None)  # the last face and dlib's descriptor of it
        self.lpips, self.fid, self.cosface = (torch.jit.load(str(p)).eval() if p else None for p in (lpips, fid, cosface))

    def measure(self, r: Tensor, y: Tensor) -> Dict[str, float]:
        """The figures of one restored face r against the truth y."""
        got = {"psnr": psnr(r, y), "ssim": ssim(r, y), "gradient": gradient_energy(r) / gradient_energy(y)}
        if self.dlib is not None:
            if self.truth[0] is not y:
                self.truth = (y, self.dlib(y))
            got["identity"] = float((self.dlib(r) - self.truth[1]).norm())
        if self.lpips is not None:
            got["lpips"] = float(self.lpips(r, y))
        if self.cosface is not None:
            got["ids"] = float(F.cosine_similarity(self.cosface(crop112(r)), self.cosface(crop112(y))))
        return got

    def features(self, x: Tensor) -> np.ndarray:
        small = F.interpolate((x + 1) / 2, size=(299, 299), mode="bilinear", align_corners=False, antialias=True)
        return self.fid(small)[0].flatten().numpy()


def crop112(x: Tensor) -> Tensor:
    """The 112x112 crop of ArcFace and CosFace from an ffhq_512 crop: the similarity between the two templates'
    eyes (y 51.6 of 112 against 240 of 512, 35.2 apart against 125.9)."""
    scale = (125.92 / 512) / (35.24 / 112)  # of the 512 crop's side that 112 pixels see
    shift_x = (255.94 + 0.5) / 512 * 2 - 1 - scale * ((55.91 + 0.5) / 112 * 2 - 1)
    shift_y = (240.07 + 0.5) / 512 * 2 - 1 - scale * ((51.6 + 0.5) / 112 * 2 - 1)
    theta = torch.tensor([[[scale, 0, shift_x], [0, scale, shift_y]]])
    small = F.interpolate(x, size=(256, 256), mode="area")
    return F.grid_sample(small, F.affine_grid(theta, [1, 3, 112, 112], align_corners=False), align_corners=False)


@torch.no_grad()
def compare(restorers: Dict[str, Restore], judges: Judges, cfg: Config, files: Sequence[Path], kinds: Dict[Path, str],
            factors: Sequence[float], seed: int = 7, shown: int = 6) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]], Image.Image]:
    """Every restorer on every face at every factor: figures per face, FID rows, and a sheet of `shown` faces each."""
    faces: List[Dict[str, Any]] = []
    fids: List[Dict[str, Any]] = []
    tiles: List[List[Tensor]] = []
    began, total = time.time(), len(factors) * len(files)
    for b in factors:
        seen: Dict[str, List[np.ndarray]] = {}
        for i, path in enumerate(files):
            x, y = pair(path, i, b, cfg, seed)
            tone, measured = skin_tone(y), octaves(x) if cfg.size == 512 else None
            outputs = {name: restore(x, path.name, b) for name, restore in restorers.items()}
            for name, r in outputs.items():
                faces.append({"face": "/".join(path.parts[-2:]), "kind": kinds.get(path, "unknown"), "tone": tone, "b": b, "octaves": measured,
                              "restorer": name, **judges.measure(r, y)})
                if judges.fid is not None:
                    seen.setdefault(name, []).append(judges.features(r))
            if judges.fid is not None:
                seen.setdefault("truth", []).append(judges.features(y))
            if i < shown:
                tiles.append([*outputs.values(), y])
            done = len(faces) // len(restorers)
            left = (time.time() - began) / done * (total - done)
            print(f"\r{done}/{total} faces, {left / 60:.1f} min left ", end="", file=sys.stderr, flush=True)
        fids += [{"b": b, "restorer": name, "fid": frechet(np.stack(f), np.stack(seen["truth"]))}
                 for name, f in seen.items() if name != "truth" and len(files) > 1]
    print(file=sys.stderr)
    return faces, fids, sheet(tiles, [*restorers, "truth"])


def sheet(rows: Sequence[Sequence[Tensor]], names: Sequence[str], side: int = 192) -> Image.Image:
    """Pictures in rows and columns, the columns named."""
    image = Image.new("RGB", (side * len(names), 16 + side * len(rows)), "white")
    pen = ImageDraw.Draw(image)
    for c, name in enumerate(names):
        pen.text((c * side + 4, 2), name, fill="black")
    for r, row in enumerate(rows):
        for c, x in enumerate(row):
            pixels = ((x[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            image.paste(Image.fromarray(pixels).resize((side, side), Image.LANCZOS), (c * side, 16 + r * side))
    return image


def summary(faces: Sequence[Dict[str, Any]], fids: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Per group of faces (all, each kind, each skin tone), factor and restorer: means, the median identity, the share not worse than -0.05 dB."""
    rows = []
    for kind in ["all", *sorted({f["kind"] for f in faces}), *sorted({f["tone"] for f in faces})]:
        own = [f for f in faces if kind in ("all", f["kind"], f["tone"])]
        for b in sorted({f["b"] for f in own}):
            inputs = {f["face"]: f["psnr"] for f in own if f["b"] == b and f["restorer"] == "input"}
            for name in dict.fromkeys(f["restorer"] for f in own):
                some = [f for f in own if f["b"] == b and f["restorer"] == name]
                row = {"kind": kind, "b": b, "restorer": name, "faces": len(some)}
                for key in ("psnr", "ssim", "identity", "gradient", "lpips", "ids"):
                    if key in some[0]:
                        row[key] = float(np.mean([f[key] for f in some]))
                if "identity" in some[0]:
                    row["median identity"] = float(np.median([f["identity"] for f in some]))
                if inputs:
                    row["not worse"] = float(np.mean([f["psnr"] > inputs[f["face"]] - 0.05 for f in some]))
                if kind == "all":
                    row.update({"fid": f["fid"] for f in fids if f["b"] == b and f["restorer"] == name})
                rows.append(row)
    return rows


def markdown(rows: Sequence[Dict[str, Any]]) -> str:
    """The summary as a Markdown table, and the paper's Table 2 below."""
    keys = [k for k in ("psnr", "ssim", "identity", "median identity", "gradient", "lpips", "ids", "fid", "not worse")
            if any(k in r for r in rows)]
    lines = ["| faces | b | restorer | " + " | ".join(keys) + " |", "|---" * (3 + len(keys)) + "|"]
    digits = {"psnr": 2, "fid": 2, "not worse": 2}
    for row in rows:
        cells = [f"{row[k]:.{digits.get(k, 4)}f}" if k in row else "" for k in keys]
        name = f"×{row['b']:g}" if row["b"] else "near-clean"
        lines.append(f"| {row['kind']} ({row['faces']}) | {name} | {row['restorer']} | " + " | ".join(cells) + " |")
    lines += ["", "The paper's Table 2, on 2,000 faces of CelebA-Test (other faces, CosFace's similarity):", "",
              "| | ×16: FID, LPIPS, PSNR, IDS | ×32 | ×64 |", "|---|---|---|---|"]
    lines += [f"| {name} | " + " | ".join(", ".join(f"{v:g}" for v in cell) for cell in cells) + " |"
              for name, cells in PAPER.items()]
    return "\n".join(lines) + "\n"


def wide(rows: Sequence[Dict[str, Any]]) -> str:
    """The summary with a line per group and degradation: PSNR of every restorer; SSIM and identity of input and last."""
    names = list(dict.fromkeys(r["restorer"] for r in rows))
    ends = [names[0], names[-1]]
    measures = [(k, label) for k, label in (("ssim", "SSIM"), ("median identity", "median identity"), ("gradient", "gradient"))
                if k in rows[0]]
    head = [f"PSNR {n}" for n in names] + [f"{label} {n}" for _, label in measures for n in ends] + ["not worse"]
    lines = ["| faces | b | " + " | ".join(head) + " |", "|---" * (2 + len(head)) + "|"]
    for kind, b in dict.fromkeys((r["kind"], r["b"]) for r in rows):
        own = {r["restorer"]: r for r in rows if (r["kind"], r["b"]) == (kind, b)}
        cells = [f"{own[n]['psnr']:.2f}" for n in names]
        cells += [f"{own[n][k]:.3f}" for k, _ in measures for n in ends]
        cells.append(f"{own[ends[1]].get('not worse', float('nan')):.2f}")
        lines.append(f"| {kind} ({own[ends[0]]['faces']}) | {f'×{b:g}' if b else 'near-clean'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description="Compare restorers on degraded faces.")
    p.add_argument("--model", type=Path, required=True, help="PLTrans: a checkpoint (.pt) or an ONNX file")
    p.add_argument("--faces", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--count", type=int, default=40, help="faces, all sets in turn; 0 = all")
    p.add_argument("--steps", default="0,2,4,8")
    p.add_argument("--factors", default=",".join(f"{f:g}" for f in FACTORS), help="b of Eq. 13; 0 = near-clean")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--restorer", action="append", default=[], metavar="NAME=FILE", help="another ONNX restorer, by its Spec")
    p.add_argument("--dlib", type=Path, default=Path(".deps/models/dlib_face_recognition_resnet_model_v1.dat"))
    for name in ("lpips", "fid", "cosface"):
        p.add_argument(f"--{name}", type=Path, help="TorchScript file, see above")
    p.add_argument("--threads", type=int, default=2)
    return p.parse_args()


def main() -> None:
    a = arguments()
    torch.set_num_threads(a.threads)
    run, cfg = ours(a.model, a.threads)
    run = remembered(run)  # auto is one of the others as a rule
    restorers: Dict[str, Restore] = {"input": untouched, "bicubic": bicubic}
    restorers.update({f"{n} steps": at_steps(run, cfg, int(n)) for n in a.steps.split(",")})
    if cfg.size == 512:
        restorers["auto"] = auto(run, cfg)
    for item in a.restorer:
        name, _, path = item.partition("=")
        restorers[name] = by_spec(Path(path), a.threads)
    judges = Judges(a.dlib if a.dlib.exists() else None, a.lpips, a.fid, a.cosface)
    kinds = {path: row["kind"] for path, row in manifest(a.faces).items()}
    faces, fids, pictures = compare(restorers, judges, cfg, spread(a.faces, a.count), kinds,
                                    [float(f) for f in a.factors.split(",")], a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "faces.json").write_text(json.dumps(faces, indent=0))
    rows = summary(faces, fids)
    text = wide(rows) + "\n" + markdown(rows)
    (a.out / "table.md").write_text(text)
    pictures.save(a.out / "sheet.jpg", quality=88)
    print(text)


if __name__ == "__main__":
    main()
