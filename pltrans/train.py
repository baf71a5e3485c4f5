"""Train PLTrans in three stages, each resumable: prior, diffusion, restore.

    python -m pltrans.train prior     --data FACES --run RUN --minutes 30
    python -m pltrans.train diffusion --data FACES --run RUN --minutes 5
    python -m pltrans.train restore   --data FACES --run RUN --minutes 240 --val VALFACES

A stage continues from RUN/STAGE.pt if that exists, else starts from the stage before it. Batches, noise and
degradations depend on the seed and the step's number only. Losses go to RUN/STAGE-loss.csv, validation
figures to RUN/STAGE-val.csv. With --steps the learning rate follows the step (exactly repeatable), with
--minutes the time spent.
"""
from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor

from . import stages
from .config import Config, size_s
from .data import Faces, ahead, sources
from .model import PLTrans

STAGES = ("prior", "diffusion", "restore")
SAVE_SECONDS = 180


@dataclass
class Run:
    """What a checkpoint holds: everything that the next step depends on."""

    cfg: Config
    stage: str
    model: PLTrans
    ema: Dict[str, Tensor]
    optim: torch.optim.Optimizer
    state: Dict[str, Any] = field(default_factory=dict)  # of the stage: codebook statistics, cached latents, teacher
    step: int = 0
    seconds: float = 0.0
    history: Dict[str, Any] = field(default_factory=dict)  # stage -> {steps, minutes, faces}


def save(run: Run, path: Path) -> None:
    """Write a checkpoint beside its place, then rename: a kill leaves the old one whole."""
    record = {"config": run.cfg.to_dict(), "stage": run.stage, "model": run.model.state_dict(), "ema": run.ema,
              "optim": run.optim.state_dict(), "state": run.state, "step": run.step, "seconds": run.seconds,
              "history": run.history}
    temporary = path.with_suffix(".tmp")
    torch.save(record, temporary)
    os.replace(temporary, path)


def load_model(path: Path) -> PLTrans:
    """The network of a checkpoint with its averaged weights, ready for inference."""
    record = torch.load(path, map_location="cpu")
    model = PLTrans(Config.from_dict(record["config"]))
    model.load_state_dict(record["ema"])
    return model.eval()


def begin(folder: Path, stage: str, cfg: Config, lr: float) -> Run:
    """Continue RUN/stage.pt, or start the stage from the one before."""
    torch.manual_seed(cfg.seed)
    own = folder / f"{stage}.pt"
    before = folder / f"{STAGES[STAGES.index(stage) - 1]}.pt" if stage != "prior" else None
    source = own if own.exists() else before
    if source is not None and not source.exists():
        raise FileNotFoundError(f"{source} is missing: run the stage before {stage} first")
    record = torch.load(source, map_location="cpu") if source else None
    if record:
        cfg = Config.from_dict(record["config"])
    model = PLTrans(cfg)
    if record:
        model.load_state_dict(record["model" if source == own else "ema"])
    model = model.to(memory_format=torch.channels_last)
    state = record["state"] if source == own and record else stages.prepare(stage, model)
    optim = torch.optim.Adam(stages.groups(stage, model, lr), betas=(0.9, 0.99))
    for group in optim.param_groups:
        group["base"] = group["lr"]
    run = Run(cfg, stage, model, {k: v.clone() for k, v in model.state_dict().items()}, optim, state)
    run.history = dict(record["history"]) if record else {}
    if source == own and record:
        bases = [group["base"] for group in optim.param_groups]
        optim.load_state_dict(record["optim"])
        for group, base in zip(optim.param_groups, bases):
            group["base"] = base  # --lr may have been changed
        run.ema, run.step, run.seconds = record["ema"], record["step"], record["seconds"]
    return run


def average(run: Run) -> None:
    """EMA of parameters (less inertia in the first steps); buffers are copied."""
    keep = min(run.cfg.ema, (1 + run.step) / (10 + run.step))
    parameters = {k for k, _ in run.model.named_parameters()}
    for k, v in run.model.state_dict().items():
        if k in parameters:
            run.ema[k].lerp_(v, 1 - keep)
        else:
            run.ema[k].copy_(v)


def rate(progress: float, step: int, last: float) -> float:
    """Cosine from 1 to `last`, after 30 steps of warm-up."""
    return min(1.0, (step + 1) / 30) * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def append(path: Path, row: Dict[str, Any]) -> None:
    fresh = not path.exists()
    with open(path, "a", newline="") as handle:
        table = csv.DictWriter(handle, fieldnames=list(row))
        if fresh:
            table.writeheader()
        table.writerow(row)


def train(folder: Path, stage: str, cfg: Config, faces: Faces, lr: float, steps: int = 0, minutes: float = 0.0,
          validate: Optional[Callable[[PLTrans], List[Dict[str, Any]]]] = None, every: float = 480.0,
          autocast: bool = True) -> Run:
    """Run one stage to `steps` or `minutes` (whichever is given and comes first); the finished Run."""
    folder.mkdir(parents=True, exist_ok=True)
    run = begin(folder, stage, cfg, lr)
    cfg, path, make = run.cfg, folder / f"{stage}.pt", stages.batches(stage, faces)
    loss_of = stages.LOSSES[stage]
    batches = ahead(make, run.step)
    started, saved, shown = time.time() - run.seconds, time.time(), time.time()
    validated, sums, count = time.time(), {}, 0

    def progress() -> float:
        return max(run.step / steps if steps else 0.0, run.seconds / (60 * minutes) if minutes else 0.0)

    while progress() < 1:
        batch = next(batches)
        for group in run.optim.param_groups:
            group["lr"] = group["base"] * rate(progress(), run.step, 0.1)
        generator = torch.Generator().manual_seed(cfg.seed * 1_000_003 + run.step)
        losses = loss_of(run.model, batch, run.state, generator, run.step, autocast)
        run.optim.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), cfg.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"stage {stage}, step {run.step}: the gradient is not finite; "
                                     "resume from the last checkpoint with a lower --lr")
        run.optim.step()
        run.step += 1
        average(run)
        run.seconds = time.time() - started
        for k, v in losses.items():
            sums[k] = sums.get(k, 0.0) + float(v)
        count += 1
        if time.time() - shown > 20 or progress() >= 1:
            means = {k: round(v / count, 4) for k, v in sums.items()}
            left = run.seconds * (1 / max(progress(), 1e-6) - 1)
            row = {"step": run.step, "seconds": round(run.seconds), "grad": round(float(norm), 3), **means}
            append(folder / f"{stage}-loss.csv", row)
            print(" ".join(f"{k}={v}" for k, v in row.items()), f"left={left / 60:.1f}min", flush=True)
            shown, sums, count = time.time(), {}, 0
        done = progress() >= 1
        if validate and (time.time() - validated > every or done):
            check_validation(run, validate, folder)
            validated = time.time()
        if time.time() - saved > SAVE_SECONDS or done:
            run.history[stage] = {"steps": run.step, "minutes": round(run.seconds / 60, 1),
                                  "faces": len(faces.files)}
            if done:
                stages.finish(stage, run.model, run.ema, run.state, faces)
            save(run, path)
            saved = time.time()
    batches.close()
    return run


def check_validation(run: Run, validate: Callable[[PLTrans], List[Dict[str, Any]]], folder: Path) -> None:
    model = PLTrans(run.cfg)
    model.load_state_dict(run.ema)
    for row in validate(model.eval()):
        append(folder / f"{run.stage}-val.csv", {"step": run.step, "seconds": round(run.seconds), **row})
        print("val", " ".join(f"{k}={v}" for k, v in row.items()), flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description="Train one stage of PLTrans.")
    p.add_argument("stage", choices=STAGES)
    p.add_argument("--data", type=Path, required=True, help="folder of aligned faces")
    p.add_argument("--val", type=Path, help="folder of aligned validation faces (stage restore)")
    p.add_argument("--run", type=Path, required=True, help="folder of checkpoints and logs")
    p.add_argument("--minutes", type=float, default=0.0)
    p.add_argument("--steps", type=int, default=0)
    p.add_argument("--lr", type=float, default=0.0, help="0 = the stage's own")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    if not a.minutes and not a.steps:
        p.error("give --minutes or --steps")
    torch.set_num_threads(a.threads)
    cfg = size_s()
    validate = None
    if a.val and a.stage == "restore":
        from .evaluate import validation

        validate = validation(a.val, cfg)
    lr = a.lr or {"prior": 1e-3, "diffusion": 1e-3, "restore": 8e-4}[a.stage]
    a.run.mkdir(parents=True, exist_ok=True)
    (a.run / "sources.json").write_text(json.dumps(sources(a.data), indent=1))
    run = train(a.run, a.stage, cfg, Faces(a.data, cfg), lr, a.steps, a.minutes, validate)
    print(f"{a.stage}: {run.step} steps in {run.seconds / 60:.1f} minutes -> {a.run / (a.stage + '.pt')}")


if __name__ == "__main__":
    main()
