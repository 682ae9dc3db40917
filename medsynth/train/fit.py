"""The training loop of both networks: resumable, averaged, stopped when validation stops falling.

It runs in fp32, or with bf16 autocast where the processor multiplies bf16 itself; weights,
optimizer and averages stay fp32. Several processes (ranks.py) train as one would.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from medsynth.core.errors import MedsynthError, UsageProblem
from medsynth.models.ema import Ema
from medsynth.train.forecast import Forecast, Trial
from medsynth.train.interrupt import AskedToEnd, Interrupted, heeding_sigterm
from medsynth.train.order import step_seed
from medsynth.train.previews import PREVIEW_EVERY
from medsynth.train.ranks import (
    Share,
    any_process,
    average_gradients,
    average_metrics,
    current_share,
    told_number,
)
from medsynth.train.recipe import Recipe, computes_bf16, learning_rate
from medsynth.train.report import OnStep, StepReport
from medsynth.train.snapshots import Validate, store_averages, take_best_average
from medsynth.train.state import FOLDER, Learner, Progressed, TrainingState


@dataclass(frozen=True)
class Task:
    """What is trained: the loss (and parts) of a share of a step, and an average's validation.

    `companions` are further learners, such as an adversary, that `loss` itself lets step; they
    are saved and taken up with the rest, and average their gradients (ranks.py) themselves. A
    private loss fills the gradients itself and tells of nothing but epsilon. Without validation
    the last average is kept. `preview` gets an average and its step now and then.
    A validation before step `counts_from` is told and never the best.
    """

    network: nn.Module
    loss: Callable[[nn.Module, int, Share], dict[str, Tensor]]
    validate: Validate | None
    is_private: bool = False
    companions: Mapping[str, Learner] = field(default_factory=dict)
    preview: Callable[[nn.Module, int], None] | None = None
    counts_from: int = 0


def fit(task: Task, recipe: Recipe, folder: Path, on_step: OnStep) -> Progressed:
    """Train in place; the first process's network ends with its best averaged weights.

    `folder` may hold the state of a killed run, from which training goes on. Raises NotEnough
    before the first step, and Interrupted where the process is asked to end: the step at hand is
    done and saved first, a validation is left and done again.
    """
    share, network = current_share(), task.network
    _check_shares(recipe, share)
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.99), fused=True
    )
    averages = tuple(Ema(network, length) for length in recipe.ema_lengths)
    state = TrainingState({"main": Learner(network, optimizer), **task.companions}, averages)
    device, states = state.device, folder / FOLDER
    use_bf16 = computes_bf16(recipe.precision, device)

    def advance(step: int, share: Share) -> dict[str, Tensor]:
        torch.manual_seed(step_seed(recipe.seed, recipe.stage, step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            parts = task.loss(network, step, share)
        if not task.is_private:
            parts["loss"].backward()  # type: ignore[no-untyped-call]
            average_gradients(network.parameters())
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimizer.step()
        for average in averages:
            average.update(network, step + 1)
        return parts

    with _own_chance(device, recipe.is_deterministic), heeding_sigterm() as ending:
        left_at_once = ending.at_once if share.world == 1 else nullcontext
        # The time and memory of a private step would tell who takes part in it.
        forecast = None
        if not task.is_private:
            forecast = _forecast(task, recipe, state, advance, folder, left_at_once)
        num_damaged, progressed = state.load(states), state.progressed
        began = time.monotonic()
        if share.is_first:
            on_step(_first_report(recipe, progressed.step, num_damaged, forecast))
        try:
            while progressed.untold is not None or not _is_over(progressed, recipe):
                if progressed.untold is None:
                    parts = advance(progressed.step, share)
                    progressed.step += 1
                    is_told = _is_told(progressed, recipe)
                    progressed.untold = average_metrics(parts) if is_told else {}
                step, metrics = progressed.step, progressed.untold
                is_last = step == recipe.num_steps
                if task.validate and (step % recipe.validate_every == 0 or is_last):
                    with left_at_once():
                        metrics = metrics | {"validation": _validate(task, state, share)}
                if not all(map(math.isfinite, metrics.values())):
                    raise MedsynthError(
                        f"{recipe.stage}: the loss is no longer finite at step {step}; "
                        "lower the learning rate or set precision to fp32"
                    )
                progressed.untold = None
                if metrics:
                    progressed.history.append({"step": float(step), **metrics})
                    if share.is_first:
                        seconds = time.monotonic() - began
                        on_step(StepReport(recipe.stage, step, recipe.num_steps, metrics, seconds))
                if share.is_first and task.validate and step % recipe.snapshot_every == 0:
                    store_averages(state, states)
                if share.is_first and task.preview and _is_due(step, recipe):
                    with left_at_once(), torch.no_grad():
                        task.preview(state.averages[-1].network, step)
                if share.is_first and step % recipe.save_every == 0 and not is_last:
                    state.save(states)
                if any_process(ending.is_asked):
                    raise AskedToEnd
            if task.validate and share.is_first:
                with left_at_once():
                    take_best_average(state, task.validate, states)
            elif not task.validate:
                network.load_state_dict(averages[-1].network.state_dict())
                progressed.ema_length = recipe.ema_lengths[-1]
        except AskedToEnd:
            if share.is_first:
                state.save(states)
            raise Interrupted(
                f"{recipe.stage}: asked to end at step {progressed.step} of {recipe.num_steps}; "
                "its state is saved, and the same command goes on from there"
            ) from None
    network.eval()
    return progressed


def _check_shares(recipe: Recipe, share: Share) -> None:
    """Raise UsageProblem where the processes' mean gradient would not be the batch's."""
    if recipe.batch % share.world:
        raise UsageProblem(
            f"{recipe.stage}: the batch must be a multiple of the number of processes, "
            f"got {recipe.batch} and {share.world}"
        )


@contextmanager
def _own_chance(device: torch.device, is_deterministic: bool) -> Iterator[None]:
    """The caller's random state and choice of kernels come back afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.use_deterministic_algorithms(before or is_deterministic)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def _forecast(
    task: Task,
    recipe: Recipe,
    state: TrainingState,
    advance: Callable[[int, Share], object],
    folder: Path,
    left_at_once: Callable[[], AbstractContextManager[None]],
) -> Forecast:
    """What training will need; nothing has moved afterwards."""

    def validate() -> None:
        if task.validate:
            with torch.no_grad():
                task.validate(state.averages[-1].network)

    trial = Trial(state, advance, validate, recipe.batch, recipe.num_snapshots)
    try:
        with left_at_once():
            return trial.run(current_share(), folder)
    except AskedToEnd:
        raise Interrupted(
            f"{recipe.stage}: asked to end before a step; the same command goes on"
        ) from None


def _first_report(
    recipe: Recipe, step: int, num_damaged: int, forecast: Forecast | None
) -> StepReport:
    """What there is to say before the first step of this process."""
    notes, metrics, left = [], {}, recipe.num_steps - step
    if forecast:
        seconds = forecast.seconds(left, recipe.validate_every)
        metrics = {"forecast_seconds": seconds, "forecast_bytes": float(forecast.peak_bytes)}
        notes.append(f"at most {left} steps in {seconds / 60:.1f} min; {forecast.needs}")
    if num_damaged:
        notes.append(f"{num_damaged} saved states were damaged; going on from step {step}")
    said = tuple(f"{recipe.stage}: {note}" for note in notes)
    return StepReport(recipe.stage, step, recipe.num_steps, metrics, 0.0, said)


def _validate(task: Task, state: TrainingState, share: Share) -> float:
    """The followed average's validation loss; the best averages so far are kept."""
    loss = math.nan
    if share.is_first and task.validate:
        with torch.no_grad():
            loss = task.validate(state.averages[-1].network)
    loss = told_number(loss)
    if state.progressed.step >= task.counts_from and loss < state.progressed.best_loss:
        state.progressed.best_loss, state.progressed.best_step = loss, state.progressed.step
        state.best = [average.weights() for average in state.averages]
    return loss


def _is_told(progressed: Progressed, recipe: Recipe) -> bool:
    """Whether the metrics of the last step are."""
    return progressed.step % recipe.report_every == 0 or progressed.step == recipe.num_steps


def _is_due(step: int, recipe: Recipe) -> bool:
    """Whether a preview is: every few validations, and at the last step."""
    return step % (PREVIEW_EVERY * recipe.validate_every) == 0 or step == recipe.num_steps


def _is_over(progressed: Progressed, recipe: Recipe) -> bool:
    """Whether every step is done, or `patience` validations went by without a new best one."""
    if progressed.step >= recipe.num_steps:
        return True
    since = progressed.step - progressed.best_step
    return progressed.best_step > 0 and since >= recipe.patience * recipe.validate_every
