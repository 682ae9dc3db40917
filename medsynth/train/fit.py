"""The training loop of both networks: resumable, averaged, stopped when validation stops falling.

The loop runs in fp32, or with bf16 autocast where the processor multiplies bf16 itself; weights,
optimizer and averages stay fp32.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from medsynth.core.errors import MedsynthError
from medsynth.models.ema import Ema
from medsynth.train.order import step_seed
from medsynth.train.report import OnStep, StepReport
from medsynth.train.state import FILE_NAME, Progressed, TrainingState

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Recipe:
    """How one network is trained; counts are steps, `ema_length` is a share of them."""

    stage: str
    num_steps: int
    learning_rate: float
    weight_decay: float
    seed: int
    ema_length: float = 0.1
    clip_norm: float = 1.0
    report_every: int = 10
    validate_every: int = 100
    save_every: int = 100
    patience: int = 8
    precision: Precision = "auto"


@dataclass(frozen=True)
class Task:
    """What is trained: the loss (and parts) of a step, and the validation loss of an average.

    A private loss fills the gradients itself and tells of nothing but epsilon. Without validation
    the last average is kept.
    """

    network: nn.Module
    loss: Callable[[nn.Module, int], dict[str, Tensor]]
    validate: Callable[[nn.Module], float] | None
    is_private: bool = False


def fit(task: Task, recipe: Recipe, folder: Path, on_step: OnStep) -> Progressed:
    """Train in place; the network ends with its best averaged weights.

    `folder` may hold the state of a killed run, from which training goes on.
    """
    network, device = task.network, next(task.network.parameters()).device
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.99), fused=True
    )
    state = TrainingState(network, optimizer, Ema(network, recipe.ema_length), {}, Progressed())
    path, began = folder / FILE_NAME, time.monotonic()
    if path.exists():
        state.load(path)
    use_bf16 = computes_bf16(recipe.precision, device)
    progressed, devices = state.progressed, [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        while progressed.step < recipe.num_steps and not _is_over(progressed, recipe):
            step = progressed.step
            torch.manual_seed(step_seed(recipe.seed, recipe.stage, step))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step)
            network.train()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
                parts = task.loss(network, step)
            if not task.is_private:
                parts["loss"].backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
            step = progressed.step = step + 1
            state.ema.update(network, step)
            is_last = step == recipe.num_steps
            metrics: dict[str, float] = {}
            if step % recipe.report_every == 0 or is_last:
                metrics = {name: float(value.detach()) for name, value in parts.items()}
            if task.validate and (step % recipe.validate_every == 0 or is_last):
                metrics["validation"] = _validate(task.validate, state)
            if not all(map(math.isfinite, metrics.values())):
                raise MedsynthError(
                    f"{recipe.stage}: the loss is no longer finite at step {step}; "
                    "lower the learning rate or set precision to fp32"
                )
            if metrics:
                progressed.history.append({"step": float(step), **metrics})
                seconds = time.monotonic() - began
                on_step(StepReport(recipe.stage, step, recipe.num_steps, metrics, seconds))
            if step % recipe.save_every == 0 and not is_last:
                state.save(path)
    network.load_state_dict(state.best or state.ema.network.state_dict())
    network.eval()
    return progressed


def _validate(validate: Callable[[nn.Module], float], state: TrainingState) -> float:
    """The average's validation loss; the best average so far is kept."""
    with torch.no_grad():
        loss = validate(state.ema.network)
    if loss < state.progressed.best_loss:
        state.progressed.best_loss, state.progressed.best_step = loss, state.progressed.step
        state.best = {k: v.clone() for k, v in state.ema.network.state_dict().items()}
    return loss


def _is_over(progressed: Progressed, recipe: Recipe) -> bool:
    """Whether `patience` validations went by without a new best one."""
    since = progressed.step - progressed.best_step
    return progressed.best_step > 0 and since >= recipe.patience * recipe.validate_every


def learning_rate(recipe: Recipe, step: int) -> float:
    """A linear rise over the first twentieth, then half a cosine down to a hundredth."""
    warmup = max(1, recipe.num_steps // 20)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, recipe.num_steps - warmup)
    return recipe.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


def computes_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether to autocast: asked for, or left open where the hardware multiplies bf16 itself."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())
