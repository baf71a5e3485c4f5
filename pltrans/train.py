"""Train PLTrans by a plan, stage after stage: prior, diffusion, restore, finish. Each is resumable.

    python -m pltrans.train --config pltrans/configs/s.toml --data FACES --val VALFACES --run RUN

FACES is a folder of aligned 512x512 faces; with --photos it is any folder of photos, and `restored align` makes
the faces from it, so that training and inference align identically. A stage continues from RUN/STAGE.pt if that
exists, else starts from the stage before it; a finished stage is passed over. Batches, noise and degradations depend
on the seed and the step's number only. Losses go to RUN/STAGE-loss.csv, validation figures to RUN/STAGE-val.csv,
sample sheets to RUN/sheets; `python -m pltrans.curves RUN` plots them. A stage with `steps` has a learning rate that
follows the step (exactly repeatable), one with `minutes` the time spent. Under torch.distributed.run every process
trains on its own batches and the gradients are averaged (DDP).
"""
from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor

from . import recover, stages
from .config import RATES, STAGES, Config, Plan, read_plan
from .data import Faces, ahead, sources
from .identity import Identity
from .model import PLTrans

SAVE_SECONDS = 180
CPUINFO = Path("/proc/cpuinfo")
Validate = Callable[[PLTrans, str], Tuple[List[Dict[str, Any]], Image.Image]]
MOST_OCTAVES = 0.5  # photos' faces that are more degraded than this many halvings don't teach clear faces


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
    cpu: float = 0.0  # seconds of this process on all cores: other work on the machine doesn't count in them
    history: Dict[str, Any] = field(default_factory=dict)  # stage -> {steps, minutes, CPU minutes, faces}


def save(run: Run, path: Path) -> None:
    """Write a checkpoint beside its place, then rename: a kill leaves the old one whole."""
    record = {"config": run.cfg.to_dict(), "stage": run.stage, "model": run.model.state_dict(), "ema": run.ema,
              "optim": run.optim.state_dict(), "state": stages.pack(run.model, run.state), "step": run.step,
              "seconds": run.seconds, "cpu": run.cpu, "history": run.history}
    temporary = path.with_suffix(".tmp")
    torch.save(record, temporary)
    os.replace(temporary, path)


def load_model(path: Path) -> PLTrans:
    """The network of a checkpoint with its averaged weights, or of an exported file, ready for inference."""
    record = recover.load(path)
    model = PLTrans(Config.from_dict(record["config"]))
    model.load_state_dict(record["ema"])
    return model.eval()


def begin(folder: Path, stage: str, cfg: Config, lr: float, device: torch.device, start: Optional[Path] = None) -> Run:
    """Continue RUN/stage.pt, or start the stage from the one before, or from the exported file `start` if there is none.

    The network must be the one of `cfg`.
    """
    torch.manual_seed(cfg.seed)
    own = folder / f"{stage}.pt"
    before = folder / f"{STAGES[STAGES.index(stage) - 1]}.pt" if stage != "prior" else None
    source = own if own.exists() else before
    if start and not (source and source.exists()):
        source, record = start, recover.record(start)
    elif source is not None and not source.exists():
        raise FileNotFoundError(f"{source} is missing: run the stage before {stage} first")
    else:
        record = torch.load(source, map_location=device) if source else None
    model = PLTrans(cfg)
    if record:
        saved, wanted = Config.from_dict(record["config"]).network(), cfg.network()
        other = sorted(k for k in wanted if saved[k] != wanted[k])
        if other:
            raise ValueError(f"{source} is of another network ({', '.join(other)} differ): choose another --run folder")
        model.load_state_dict(record["model" if source == own else "ema"])
    model = model.to(device, memory_format=layout(device))
    resumed = source == own and record is not None
    state = record["state"] if resumed else stages.prepare(stage, model, record["state"] if record else {})
    optim = torch.optim.Adam(stages.groups(stage, model, lr), betas=(0.9, 0.99))
    bases = [group["lr"] for group in optim.param_groups]
    run = Run(cfg, stage, model, {k: v.clone() for k, v in model.state_dict().items()}, optim, state)
    run.history = dict(record["history"]) if record else {}
    if resumed:
        optim.load_state_dict(record["optim"])
        run.ema, run.step, run.seconds = record["ema"], record["step"], record["seconds"]
        run.cpu = record.get("cpu", 0.0)
    for group, base in zip(optim.param_groups, bases):
        group["base"] = base  # of the plan, which may have changed
    return run


class Step(torch.nn.Module):
    """The losses of one batch as a module's forward, which is what DDP wraps."""

    def __init__(self, run: Run, autocast: bool) -> None:
        super().__init__()
        self.model, self.state, self.autocast = run.model, run.state, autocast
        self.loss = stages.LOSSES[run.stage]

    def forward(self, batch: Tuple, generator: torch.Generator, step: int) -> Dict[str, Tensor]:
        return self.loss(self.model, batch, self.state, generator, step, self.autocast)


def half_is_native(device: torch.device) -> bool:
    """Whether bfloat16 saves time: on a CPU only with AVX-512, without which it is emulated, 12 times slower than float32.

    The processor is asked, not PyTorch: Debian's says AVX2 of its own kernels where oneDNN, which convolves, has AVX-512.
    """
    return device.type != "cpu" or " avx512bw" in CPUINFO.read_text()


def layout(device: torch.device) -> torch.memory_format:
    """The faster order of an image's numbers: channels last for bfloat16, channels first (a quarter less time) for float32."""
    return torch.channels_last if half_is_native(device) else torch.contiguous_format


def moved(t: Tensor, device: torch.device) -> Tensor:
    return t.to(device, memory_format=layout(device)) if t.dim() == 4 else t.to(device)


def place() -> Tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


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


class Log:
    """Means of the losses, every 20 seconds to the CSV file and, with the time left, to the terminal."""

    def __init__(self, path: Path) -> None:
        self.path, self.shown, self.sums, self.count = path, time.time(), {}, 0

    def add(self, run: Run, losses: Dict[str, Tensor], norm: float, progress: float) -> None:
        for k, v in losses.items():
            self.sums[k] = self.sums.get(k, 0.0) + float(v)
        self.count += 1
        if time.time() - self.shown < 20 and progress < 1:
            return
        row = {"step": run.step, "seconds": round(run.seconds), "cpu": round(run.cpu), "grad": round(norm, 3),
               **{k: round(v / self.count, 4) for k, v in self.sums.items()}}
        append(self.path, row)
        left = run.seconds * (1 / max(progress, 1e-6) - 1) / 60
        print(f"{run.stage} {100 * progress:.1f}%", " ".join(f"{k}={v}" for k, v in row.items()),
              f"left={left:.1f}min", flush=True)
        self.shown, self.sums, self.count = time.time(), {}, 0


def train(folder: Path, stage: str, cfg: Config, faces: Faces, plan: Plan, validate: Optional[Validate] = None,
          every: float = 480.0, autocast: bool = True, device: torch.device = torch.device("cpu"),
          phi: Optional[torch.nn.Module] = None, start: Optional[Path] = None) -> Run:
    """Run one stage to the plan's steps or minutes (whichever is given and comes first); the finished Run."""
    folder.mkdir(parents=True, exist_ok=True)
    run, (rank, world) = begin(folder, stage, cfg, plan.lr, device, start), place()
    if phi is not None:
        stages.perceive(run.model, phi)
    path, make = folder / f"{stage}.pt", stages.batches(stage, faces)
    step_of = Step(run, autocast)
    if world > 1:
        step_of = torch.nn.parallel.DistributedDataParallel(step_of, find_unused_parameters=True)
    started, saved, validated = time.time() - run.seconds, time.time(), time.time()
    cpu_started = time.process_time() - run.cpu
    log = Log(folder / f"{stage}-loss.csv")

    def progress() -> float:
        return max(run.step / plan.steps if plan.steps else 0.0, run.seconds / (60 * plan.minutes) if plan.minutes else 0.0)

    done = progress() >= 1
    batches = ahead(lambda number: make(number * world + rank), run.step)
    while not done:
        batch = [moved(t, device) if isinstance(t, Tensor) else t for t in next(batches)]
        for group in run.optim.param_groups:
            group["lr"] = group["base"] * rate(progress(), run.step, 0.1)
        generator = torch.Generator().manual_seed((cfg.seed * 1_000_003 + run.step) * world + rank)
        losses = step_of(batch, generator, run.step)
        run.optim.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), cfg.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"stage {stage}, step {run.step}: the gradient is not finite; "
                                     "resume from the last checkpoint with a lower lr")
        run.optim.step()
        run.step += 1
        average(run)
        run.seconds, run.cpu = agreed(time.time() - started, device), time.process_time() - cpu_started
        done = progress() >= 1
        if rank:
            continue
        log.add(run, losses, float(norm), progress())
        if validate and (time.time() - validated > every or done):
            check_validation(run, validate, folder)
            validated = time.time()
        if time.time() - saved > SAVE_SECONDS or done:
            run.history[stage] = {"steps": run.step, "minutes": round(run.seconds / 60, 1),
                                  "cpu_minutes": round(run.cpu / 60, 1),
                                  "faces": len(faces.files), "processes": world}
            if done:
                stages.finish(stage, run.state)
            save(run, path)
            saved = time.time()
    batches.close()
    if world > 1:
        dist.barrier()  # the next stage starts from the file that the first process has written
    return run


def agreed(seconds: float, device: torch.device) -> float:
    """The first process's clock, so that all of them stop after the same step."""
    if place()[1] == 1:
        return seconds
    shared = torch.tensor([seconds], dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)


def check_validation(run: Run, validate: Validate, folder: Path) -> None:
    """Figures of the averaged weights to STAGE-val.csv and a sheet of faces to sheets/."""
    model = PLTrans(run.cfg).to(next(run.model.parameters()).device)
    model.load_state_dict(run.ema)
    rows, sheet = validate(model.eval(), run.stage)
    for row in rows:
        append(folder / f"{run.stage}-val.csv", {"step": run.step, "seconds": round(run.seconds), **row})
        print("val", " ".join(f"{k}={v}" for k, v in row.items()), flush=True)
    (folder / "sheets").mkdir(exist_ok=True)
    sheet.save(folder / "sheets" / f"{run.stage}-{run.step:06d}.jpg", quality=88)


def align_photos(photos: Path, faces: Path, restored: str) -> None:
    """Write the aligned faces of a folder of photos to `faces` with `restored align`."""
    command = [restored, "align", "--out", str(faces), "--max-octaves", str(MOST_OCTAVES), str(photos)]
    code = subprocess.run(command).returncode
    if code not in (0, 1):  # 1: some photos failed, as it has said itself
        raise SystemExit(f"{' '.join(command)} ended with code {code}; --restored names the binary (make build)")


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description="Train PLTrans by a plan; every stage goes on where it stopped.")
    p.add_argument("--config", type=Path, required=True, help="the plan, such as pltrans/configs/s.toml")
    p.add_argument("--data", type=Path, required=True, help="folder of aligned faces, or of photos with --photos")
    p.add_argument("--photos", action="store_true", help="--data holds photos: align their sharp faces to RUN/faces first")
    p.add_argument("--restored", default="bin/restored", help="the binary for --photos")
    p.add_argument("--val", type=Path, help="folder of aligned validation faces")
    p.add_argument("--run", type=Path, required=True, help="folder of checkpoints and logs")
    p.add_argument("--start", type=Path, help="an exported file (.onnx) in place of the stage before --stage")
    p.add_argument("--stage", choices=STAGES, help="only this stage")
    p.add_argument("--minutes", type=float, help="instead of the plan's, with --stage")
    p.add_argument("--dlib", type=Path, default=Path(".deps/models/dlib_face_recognition_resnet_model_v1.dat"),
                   help="dlib's recognition network, whose features and identity the restoration is trained against")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = p.parse_args()
    if a.minutes is not None and not a.stage:
        p.error("--minutes needs --stage")
    if a.start is not None and not a.stage:
        p.error("--start needs --stage")
    return a


def main() -> None:
    a = arguments()
    torch.set_num_threads(a.threads)
    cfg, plans = read_plan(a.config)
    device = torch.device(a.device)
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
    rank = place()[0]
    a.run.mkdir(parents=True, exist_ok=True)
    data = a.run / "faces" if a.photos else a.data
    if rank == 0:
        if a.photos:
            align_photos(a.data, data, a.restored)
        (a.run / "sources.json").write_text(json.dumps(sources(data), indent=1))
    if dist.is_initialized():
        dist.barrier()
    validate = None
    if a.val:
        from .validate import validation

        validate = validation(a.val, cfg)
    faces, phi = Faces(data, cfg), Identity(a.dlib) if a.dlib.exists() else None
    if phi is None:
        print(f"{a.dlib} is missing (setup/setup.sh fetches it): training without an identity loss", file=sys.stderr)
    for stage in [a.stage] if a.stage else [s for s in STAGES if s in plans]:
        plan = plans.get(stage, Plan(lr=RATES[stage]))
        if a.minutes is not None:
            plan = Plan(minutes=a.minutes, lr=plan.lr)
        if not plan.minutes and not plan.steps:
            raise SystemExit(f"{a.config}: [{stage}] needs minutes or steps")
        run = train(a.run, stage, cfg, faces, plan, validate, autocast=half_is_native(device), device=device, phi=phi,
                    start=a.start)
        if rank == 0:
            print(f"{stage}: {run.step} steps in {run.seconds / 60:.1f} minutes -> {a.run / (stage + '.pt')}")


if __name__ == "__main__":
    main()
