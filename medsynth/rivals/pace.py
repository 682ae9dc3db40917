"""Equal time for unequal models: how many steps of a training fill so many seconds.

Learning rates and averages need to know the last step before the first, so a few steps are
rehearsed and timed on a copy.
"""

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from medsynth.models.frame import Frame
from medsynth.train.config import TrainConfig
from medsynth.train.features import FILE, learned_features
from medsynth.train.fit import Task, fit
from medsynth.train.fold import TrainingFold
from medsynth.train.recipe import Recipe
from medsynth.train.report import OnStep, StepReport

REHEARSED = 20
"""Steps of a rehearsal: enough that a critic, which comes in later, takes its share of them."""
REHEARSED_ALONE = 6
"""Steps of a rehearsal of one network without a critic, whose steps are all alike."""
STEPS = {"latents": "autoencoder_steps", "checkpoint": "denoiser_steps"}
"""Which field of the config counts a stage's steps."""


def clock() -> float:
    """Seconds of work: on a CPU this process's own, per thread, so that neighbors on a shared
    machine take nothing from anybody; with a GPU those on the wall.
    """
    if torch.cuda.is_available():
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def steps_within(seconds: float, marks: Sequence[float], validate_every: int) -> int:
    """Steps that fill the seconds, from a rehearsal's clock after each step; at least two."""
    each = np.diff(marks)
    step = float(each[:-1].mean())
    validation = max(0.0, float(each[-1]) - step)
    return max(2, int(seconds / (step + validation / validate_every)))


def after_rehearsal(seconds: float, spent: float, marks: Iterable[Sequence[float]]) -> float:
    """Seconds left for steps: what a rehearsal spent beside its own, a training spends again."""
    beside = spent - sum(of_stage[-1] - of_stage[0] for of_stage in marks)
    return seconds - spent - beside


def paced(task: Task, recipe: Recipe, seconds: float) -> Recipe:
    """The recipe with as many steps as fill the seconds, after the time of this rehearsal.

    The task's network stays as it is.
    """
    began, marks = clock(), list[float]()
    tried = replace(task, network=copy.deepcopy(task.network))
    with TemporaryDirectory() as folder:
        short = replace(recipe, num_steps=REHEARSED_ALONE, **_rehearsal(REHEARSED_ALONE))
        fit(tried, short, Path(folder), _marking({recipe.stage: marks}))
    left = after_rehearsal(seconds, clock() - began, [marks])
    return replace(recipe, num_steps=steps_within(left, marks, recipe.validate_every))


def paced_config(
    config: TrainConfig,
    train: Callable[[TrainConfig, Path, OnStep], object],
    seconds: float,
    shares: Mapping[str, float],
) -> TrainConfig:
    """The config with as many steps as fill each stage's share of the seconds, less a rehearsal."""
    began, marks = clock(), {stage: list[float]() for stage in shares}
    brief = dict.fromkeys(STEPS.values(), REHEARSED) | _rehearsal(REHEARSED)
    short = config.model_copy(update=brief)
    with TemporaryDirectory() as folder:
        train(short, Path(folder), _marking(marks))
    left = after_rehearsal(seconds, clock() - began, marks.values())
    steps = {
        STEPS[stage]: steps_within(left * share, marks[stage], config.validate_every)
        for stage, share in shares.items()
    }
    return config.model_copy(update=steps)


def taught(config: TrainConfig, fold: TrainingFold, seed: int, folder: Path) -> TrainConfig:
    """The config with its perceptual features taught, into a folder, where they have a weight:
    rehearsal and training find them there.
    """
    if not config.perceptual_weight or config.perceptual_weights is not None:
        return config
    images = Frame(fold.spatial_shape, config.multiple).to_tensor(fold.volumes)
    is_validation = torch.from_numpy(fold.is_validation)
    learned_features(images[~is_validation], images[is_validation], config, seed, folder)
    return config.model_copy(update={"perceptual_weights": folder / FILE})


def _rehearsal(num_steps: int) -> dict[str, Any]:
    """What a rehearsal changes in a recipe or a config: nothing but steps is timed."""
    return {
        "report_every": 1,
        "validate_every": num_steps,
        "save_every": num_steps,
        "num_snapshots": 1,
    }


def _marking(marks: Mapping[str, list[float]]) -> OnStep:
    """Notes the clock after each step of a stage."""

    def mark(report: StepReport) -> None:
        if report.step:  # the first report comes before any
            marks[report.stage].append(clock())

    return mark
