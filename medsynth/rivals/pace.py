"""Equal time for unequal models: how many steps of a training fill so many seconds.

Learning rates and averages need to know the last step before the first, so a few steps are
rehearsed and timed on a copy.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from medsynth.train.fit import Task, fit
from medsynth.train.recipe import Recipe
from medsynth.train.report import OnStep, StepReport

REHEARSED = 12
"""Steps of a rehearsal; the first, which warms up, counts less by the median."""

REHEARSAL: dict[str, Any] = {
    "report_every": 1,
    "validate_every": REHEARSED,
    "save_every": REHEARSED,
    "num_snapshots": 1,
}
"""What a rehearsal changes in a recipe or a config: nothing but steps is timed."""


def clock() -> float:
    """Seconds of work: on a CPU this process's own, per thread, so that neighbors on a shared
    machine take nothing from anybody; with a GPU those on the wall.
    """
    if torch.cuda.is_available():
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def rehearsal(recipe: Recipe) -> Recipe:
    """The recipe of a rehearsal: each step reported, one validation at the end."""
    return replace(recipe, num_steps=REHEARSED, **REHEARSAL)


def marking(marks: list[float]) -> OnStep:
    """Notes the clock after each step."""

    def mark(report: StepReport) -> None:
        if report.step:  # the first report comes before any
            marks.append(clock())

    return mark


def steps_within(seconds: float, marks: Sequence[float], validate_every: int) -> int:
    """Steps that fill the seconds, from a rehearsal's clock after each step; at least two."""
    each = np.diff(marks)
    step = float(np.median(each[:-1]))
    validation = max(0.0, float(each[-1]) - step)
    return max(2, int(seconds / (step + validation / validate_every)))


def paced(task: Task, recipe: Recipe, seconds: float) -> Recipe:
    """The recipe with as many steps as fill the seconds, after the time of this rehearsal.

    The task's network stays as it is.
    """
    began, marks = clock(), list[float]()
    with TemporaryDirectory() as folder:
        tried = replace(task, network=copy.deepcopy(task.network))
        fit(tried, rehearsal(recipe), Path(folder), marking(marks))
    left = seconds - (clock() - began)
    return replace(recipe, num_steps=steps_within(left, marks, recipe.validate_every))
