"""The stages of training: what each learns from, its loss, and what it hands on."""
from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
from torch import Tensor

from . import losses as L
from .config import RATES
from .data import Faces
from .diffusion import add_noise, predict_u0
from .discriminator import Discriminator, d_loss, g_loss
from .model import PLTrans

KMEANS_STEP = 120  # the dictionary starts from the z of the steps before this one
DIFFUSION_BATCH = 24
DIFFUSION_T = 500  # t is drawn below this: inference starts at stride * max_steps at most
WHOLE_T = 0.2  # share of t that is drawn from all of T: sampling faces from noise starts at its end
LATENTS = 1200  # u of clear faces that stage 2 learns from
MATURE = 1500  # steps after which restoration sees the teacher's u least often
REPLAY = 160  # latents of the last faces that restoration keeps: epsilon_theta learns from more than a batch's
REPLAY_BATCH = 12
MILD = 4.0  # b up to which u_lq itself is trained towards u_hq
TRUST = 40  # steps over which the restorer comes to listen to D
CLEAN = 0.004  # mean |x - y| (range -1..1) under which a sample counts as near-clean

State = Dict[str, Any]


def autocast(device: torch.device, on: bool) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def rand(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform numbers, drawn on the CPU so that every device trains on the same ones."""
    return torch.rand(*shape, generator=generator).to(like.device)


def randn(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(*shape, generator=generator).to(like.device)


def groups(stage: str, model: PLTrans, lr: float) -> List[Dict[str, Any]]:
    """Parameter groups with the learning rates of PLTRANS.md's recipe."""
    if stage == "diffusion":
        return [{"params": list(model.eps.parameters()), "lr": lr}]
    by_rate: Dict[float, List[Tensor]] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if stage == "prior" and (part in ("fine", "gate", "eps") or name.startswith(("G.fuse", "G.residual"))):
            continue
        if stage in ("restore", "finish") and name.startswith("G.whole"):
            continue
        if name == "prior.r":
            factor = 10.0  # one global vector hardly moves at the common rate
        elif stage == "prior":
            factor = 1.0
        else:
            fine = name.startswith(("fine.", "G.fuse", "G.residual", "G.stages.0", "G.stages.1"))
            factor = 1.5 if fine else 2.0 if part == "eps" else 1.0 if part == "gate" else 0.6
        by_rate.setdefault(factor, []).append(parameter)
    return [{"params": params, "lr": lr * factor} for factor, params in sorted(by_rate.items())]


def prepare(stage: str, model: PLTrans, before: State) -> State:
    """The state with which a stage begins; `before` is that of the stage before it, or of a recovered file."""
    if stage == "prior":
        return {"rows": [], "size": None, "sum": None}
    if stage == "diffusion":
        return {"latents": None}
    if "teacher" in before:  # of restoration, or of a file that has been through it
        return {"teacher": before["teacher"]}
    torch.nn.init.normal_(model.G.residual.weight, 0, 0.003)
    teacher = {"E": copy.deepcopy(model.E).state_dict(), "maps": copy.deepcopy(model.maps).state_dict()}
    return {"teacher": teacher}


def batches(stage: str, faces: Faces) -> Callable[[int], Tuple]:
    """Batch number -> batch."""
    if stage == "prior":
        return lambda step: faces.clear_batch(1, step)
    if stage == "diffusion":
        return lambda step: (step, faces)
    return lambda step: faces.pair_batch(3 if stage == "restore" else 4, step)


# ---- stage 1: autoencoder and dictionary --------------------------------------------------------------------


def kmeans(rows: Tensor, codes: int, generator: torch.Generator) -> Tensor:
    """A few Lloyd iterations from random rows; [codes, C]."""
    pick = torch.randperm(len(rows), generator=generator)
    centres = rows[pick[torch.arange(codes) % len(rows)].to(rows.device)].clone()
    for _ in range(8):
        nearest = ((centres * centres).sum(1) - 2 * rows @ centres.t()).argmin(1)
        count = torch.bincount(nearest, minlength=codes).float()
        total = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = torch.where(count[:, None] > 0, total / count[:, None].clamp(min=1), centres)
    return centres


@torch.no_grad()
def learn_codes(model: PLTrans, z: Tensor, nearest: Tensor, state: State, generator: torch.Generator) -> float:
    """EMA update of V from z and its nearest codes; unused codes restart at random z. Share of codes in use."""
    V = model.prior.V
    rows = z.permute(0, 2, 3, 1).reshape(-1, V.shape[1])
    count = torch.bincount(nearest, minlength=len(V)).float()
    total = torch.zeros_like(V).index_add_(0, nearest, rows)
    if state["size"] is None:
        state["size"], state["sum"] = torch.ones(len(V), device=V.device), V.clone()
    state["size"].mul_(0.98).add_(count, alpha=0.02)
    state["sum"].mul_(0.98).add_(total, alpha=0.02)
    V.copy_(state["sum"] / state["size"].clamp(min=1e-3)[:, None])
    dead = (state["size"] < 0.05).nonzero()[:, 0]
    if len(dead):
        pick = torch.randint(len(rows), (len(dead),), generator=generator).to(rows.device)
        V[dead] = rows[pick]
        state["size"][dead], state["sum"][dead] = 1.0, rows[pick]
    return 1 - len(dead) / len(V)


def prior_loss(model: PLTrans, batch: Tuple, state: State, generator: torch.Generator, step: int,
               bf16: bool) -> Dict[str, Tensor]:
    """Reconstruction of clear faces without skips, Eq. 2 and 3, and vector quantisation."""
    cfg, (y,) = model.cfg, batch
    with autocast(model.grid.device, bf16):
        q = model.E(y)
        mean, logvar = model.maps.encode(q.detach())  # q is stop-gradient for L_q and KL
        u = mean + torch.exp(0.5 * logvar) * randn(mean.shape, generator, mean)
        q_hat = model.maps.decode(u)
        z = model.prior.features(q)
        used, commit = 0.0, z.new_zeros(())
        if step < KMEANS_STEP:
            tilde = z
            if step >= KMEANS_STEP - 20:
                state["rows"].append(z.detach().permute(0, 2, 3, 1).reshape(-1, z.shape[1])[::2].clone())
        else:
            if state["rows"]:
                model.prior.V.copy_(kmeans(torch.cat(state["rows"]), cfg.codes, generator))
                state["rows"] = []
            mixed, nearest = model.prior.retrieve(z)
            commit = ((z - mixed.detach()) ** 2).mean() + ((z.detach() - mixed) ** 2).mean()  # the second moves r
            tilde = mixed.detach() + z - z.detach()
            used = learn_codes(model, z.detach(), nearest, state, generator)
        k, v = model.prior(z, tilde)
        out = model.G(model.transformer(q_hat, k, v), None)
    parts = {"l1": (out - y).abs().mean(), "gradient": L.gradient_l1(out, y).mean(), "commit": commit,
             "q": (q_hat.float() - q.detach().float()).abs().mean(), "kl": L.kl(mean, logvar)}
    parts["total"] = (parts["l1"] + cfg.gradient * parts["gradient"] + cfg.commit * commit
                      + 0.1 * parts["q"] + cfg.kl * parts["kl"])
    parts["used"] = torch.tensor(used)
    return parts


# ---- stage 2: diffusion -------------------------------------------------------------------------------------


@torch.no_grad()
def latents(model: PLTrans, faces: Faces, count: int, bf16: bool) -> Tensor:
    """u of `count` clear faces (as the loader draws them), divided by maps.std."""
    done = []
    for step in range(-(-count // faces.cfg.batch)):
        with autocast(model.grid.device, bf16):
            y = faces.clear_batch(2, step)[0].to(model.grid.device)
            done.append(model.maps.encode(model.E(y))[0].cpu())
    return torch.cat(done)


def diffusion_loss(model: PLTrans, batch: Tuple, state: State, generator: torch.Generator, step: int,
                   bf16: bool) -> Dict[str, Tensor]:
    """Eq. 4 (with u_0 under the root) over cached latents."""
    if state["latents"] is None:
        u = latents(model, batch[1], LATENTS, bf16)
        model.maps.std.copy_(model.maps.std * u.std())
        state["latents"] = u / u.std()
    pick = torch.randint(len(state["latents"]), (DIFFUSION_BATCH,), generator=generator)
    loss = epsilon_loss(model, state["latents"][pick].to(model.grid.device), generator)
    return {"total": loss}


def epsilon_loss(model: PLTrans, u: Tensor, generator: torch.Generator) -> Tensor:
    t = torch.randint(1, DIFFUSION_T, (len(u),), generator=generator)
    whole = torch.rand(len(u), generator=generator) < WHOLE_T
    t = torch.where(whole, torch.randint(1, model.cfg.timesteps, (len(u),), generator=generator), t).to(u.device)
    noise = randn(u.shape, generator, u)
    u_t = add_noise(u, noise, model.bars[t].reshape(-1, 1, 1, 1))
    return ((model.eps(u_t, t.float()).float() - noise) ** 2).mean()


# ---- stage 3: restoration -----------------------------------------------------------------------------------


def teacher_of(model: PLTrans, state: State) -> Tuple[torch.nn.Module, torch.nn.Module]:
    """Frozen E and E_Q of stage 1 (kept outside the checkpointed state)."""
    if not hasattr(model, "teacher"):
        pair = (copy.deepcopy(model.E), copy.deepcopy(model.maps))
        for module, name in zip(pair, ("E", "maps")):
            module.load_state_dict(state["teacher"][name])
            module.requires_grad_(False)
        model.__dict__["teacher"] = pair  # not a submodule
    return model.__dict__["teacher"]


def draw_steps(b: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Steps n [n] as a face of degradation b [n] needs them: about 3 log2(b / 4), +-4, so a mild face often has none."""
    centre = 3 * torch.log2(b.clamp(min=1.0) / 4)
    spread = 8 * rand((len(b),), generator, b) - 4
    return (centre + spread).round().clamp(0, most).long()


def regularised(model: PLTrans, u_lq: Tensor, b: Tensor, generator: torch.Generator) -> Tensor:
    """u-hat_0 of section 3.2: n perturbations, the reverse process to a random s (no gradient), then directly.

    u_lq itself where n = 0, and everywhere in the ablation without diffusion.
    """
    cfg = model.cfg
    if not cfg.use_diffusion:
        return u_lq
    noise = randn(u_lq.shape, generator, u_lq)
    n = draw_steps(b, cfg.max_steps, generator)
    s = 1 + (rand((len(b),), generator, b) * n).long().clamp(max=cfg.max_steps - 1)
    u_n = model.noised(u_lq, noise, n)
    with torch.no_grad():
        u_s = u_n
        for i in range(int((n - s).max())):
            going = (n - i > s).reshape(-1, 1, 1, 1)
            u_s = torch.where(going, model.step(u_s, u_lq, noise, n - i), u_s)
    u_s = torch.where((n > s).reshape(-1, 1, 1, 1), u_s, u_n)  # where s = n the gradient reaches E
    eps = model.eps(u_s, (s * cfg.stride).float()).float()
    u_0 = predict_u0(u_s, eps, model.grid[s].reshape(-1, 1, 1, 1))
    return torch.where((n > 0).reshape(-1, 1, 1, 1), u_0, u_lq)


def replayed(model: PLTrans, u_lq: Tensor, u_hq: Tensor, b: Tensor, state: State,
             generator: torch.Generator) -> Tuple[Tensor, Tensor]:
    """|u-hat_0 - u_hq|^2 and Eq. 4 on latents of the last faces. epsilon_theta works on 16x16, so that a batch of its own
    costs little, and with the few faces that restoration affords it learns nothing."""
    kept = state.setdefault("replay", [u_lq[:0].float(), u_hq[:0].float(), b[:0]])
    for i, new in enumerate((u_lq.float(), u_hq.float(), b)):
        kept[i] = torch.cat([kept[i], new])[-REPLAY:]
    pick = torch.randint(len(kept[2]), (REPLAY_BATCH,), generator=generator).to(b.device)
    low, high, factor = (k[pick] for k in kept)
    u_0 = regularised(model, low, factor, generator)
    return ((u_0 - high) ** 2).mean(), epsilon_loss(model, high, generator)


def restoration(model: PLTrans, batch: Tuple, state: State, generator: torch.Generator, step: int,
                 bf16: bool) -> Tuple[Dict[str, Tensor], Tensor]:
    """The losses of a batch and the ungated result r: Eq. 10 in relative form, the latents' terms, and the gate. u is the teacher's or u-hat_0 after n steps."""
    cfg, (x, y, b) = model.cfg, batch
    T_E, T_maps = teacher_of(model, state)
    n = len(x)
    with autocast(model.grid.device, bf16):
        with torch.no_grad():
            wanted = T_E.features(y)
            u_hq = T_maps.encode(wanted[-1])[0]
        q, u_lq, skips, energy = model.encode(x)
        # Restoration doesn't reach E by u: what the u of a heavily degraded face lacks is the diffusion's work.
        u_0 = regularised(model, u_lq.detach(), b, generator)
        match, eps = replayed(model, u_lq.detach(), u_hq, b, state, generator)
        choice = rand((n,), generator, b).reshape(-1, 1, 1, 1)
        teach = 0.25 - 0.15 * min(1.0, step / MATURE)
        u = torch.where(choice < teach, u_hq, u_0)
        drop = (rand((n,), generator, b) < 0.2) & (b > 5)
        keep = (~drop).float().reshape(-1, 1, 1, 1)
        skips = [s * keep.to(s.dtype) for s in skips]
        delta = model.residual(x, q, u, skips)
        r = x + delta
        q_hat = model.maps.decode(u)
        got = T_E.features(r[:1])  # one sample a batch: the samples are alike, and E costs as much as G
        g = model.gate(energy.detach(), [s.detach() for s in skips], q.detach(), delta.detach())
    parts = {"l1": L.relative_l1(r, x, y), "gradient": L.relative_gradient(r, x, y),
             "structure": L.relative_structure(r, x, y), "feature": L.feature_l1(got, [f[:1] for f in wanted]),
             "q": (q_hat.float() - wanted[-1].float()).abs().mean(),
             "u_lq": ((u_lq - u_hq) ** 2).mean((1, 2, 3)).mul(b <= MILD).mean(), "u_0": match,
             "eps": eps, "gate": L.gate_loss(g, delta, x, y, cfg.gate_harm)}
    parts.update(perception(model, r, x, y))
    parts["total"] = (parts["l1"] + cfg.gradient * parts["gradient"] + cfg.structure * parts["structure"]
                      + cfg.feature * parts["feature"] + cfg.perceptual * parts["phi"] + cfg.identity * parts["identity"]
                      + cfg.query * parts["q"] + cfg.latent_match * parts["u_lq"] + cfg.regularise * parts["u_0"]
                      + cfg.diffusion * parts["eps"] + parts["gate"])
    return parts, r


def perceive(model: PLTrans, phi: torch.nn.Module) -> None:
    """Let restoration train against the features of `phi` (dlib's network) too; it is kept out of the checkpoints."""
    model.__dict__["phi"] = phi.to(model.grid.device).requires_grad_(False)


def perception(model: PLTrans, r: Tensor, x: Tensor, y: Tensor) -> Dict[str, Tensor]:
    """phi of Eq. 10: relative L1 of dlib's features, and the descriptors' distance relative to the input's.

    Both are 0 where no phi was given.
    """
    phi = model.__dict__.get("phi")
    if phi is None:
        return {"phi": r.new_zeros(()), "identity": r.new_zeros(())}
    with torch.no_grad():
        *wanted, truth = phi.features(y)
        before = (phi(x) - truth).norm(dim=1)
    *got, described = phi.features(r)
    after = ((described - truth) ** 2).sum(1).add(1e-6).sqrt()
    return {"phi": L.feature_l1(got, wanted), "identity": (after / (before + 0.1)).mean()}


def restore_loss(model: PLTrans, batch: Tuple, state: State, generator: torch.Generator, step: int,
                 bf16: bool) -> Dict[str, Tensor]:
    return restoration(model, batch, state, generator, step, bf16)[0]


# ---- stage 4: adversarial finish ----------------------------------------------------------------------------


def opponent(model: PLTrans, state: State) -> Tuple[Discriminator, torch.optim.Optimizer]:
    """D and its optimiser: made once, then continued from `state` (where `pack` puts them)."""
    if "opponent" not in model.__dict__:
        D = Discriminator(model.cfg).to(model.grid.device)
        optim = torch.optim.Adam(D.parameters(), lr=RATES["finish"], betas=(0.5, 0.99))
        if "D" in state:
            D.load_state_dict(state["D"])
            optim.load_state_dict(state["D_optim"])
        model.__dict__["opponent"] = (D, optim)  # not a submodule
    return model.__dict__["opponent"]


def pack(model: PLTrans, state: State) -> State:
    """`state` with all that its stage keeps outside it, for a checkpoint."""
    if "opponent" in model.__dict__:
        D, optim = model.__dict__["opponent"]
        state = {**state, "D": D.state_dict(), "D_optim": optim.state_dict()}
    return state


def finish_loss(model: PLTrans, batch: Tuple, state: State, generator: torch.Generator, step: int,
                bf16: bool) -> Dict[str, Tensor]:
    """Restoration's losses plus Eq. 11 and feature matching. D takes its own step here, before the restorer's.

    Near-clean faces don't count in the adversarial part: there is nothing to invent in them.
    """
    cfg = model.cfg
    D, optim = opponent(model, state)
    parts, r = restoration(model, batch, state, generator, MATURE, bf16)
    x, y, _ = batch
    counts = ((x - y).abs().mean((1, 2, 3)) > CLEAN).float()
    D.requires_grad_(True)
    with autocast(r.device, bf16):
        loss_d = d_loss(D(y)[0], D(r.detach())[0], counts)
    optim.zero_grad(set_to_none=True)
    loss_d.backward()
    mean_gradients(D)
    optim.step()
    D.requires_grad_(False)
    with autocast(r.device, bf16):
        judged, made = D(r)
        with torch.no_grad():
            _, wanted = D(y)
    mask = counts.reshape(-1, 1, 1, 1)
    parts.update(d=loss_d.detach(), g=g_loss(judged, counts),
                 match=L.feature_l1([f * mask for f in made], [f * mask for f in wanted]))
    trust = min(1.0, step / TRUST)  # D knows nothing in the first steps
    parts["total"] = parts["total"] + trust * (cfg.adversarial * parts["g"] + cfg.matching * parts["match"])
    return parts


def mean_gradients(module: torch.nn.Module) -> None:
    """Average the gradients over the processes of a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for p in module.parameters():
            torch.distributed.all_reduce(p.grad)
            p.grad /= torch.distributed.get_world_size()


def finish(stage: str, state: State) -> None:
    """Drop what the next stage does not need."""
    if stage == "diffusion":
        state["latents"] = None
    state.pop("replay", None)


LOSSES = {"prior": prior_loss, "diffusion": diffusion_loss, "restore": restore_loss, "finish": finish_loss}
