"""What training says of itself, every few steps; the caller logs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """Where a stage stands: `seconds` since this process began it, metrics of this step.

    Before a stage's first step of this process comes one with `notes`, sentences for a person;
    before everything one with `warnings` about the training fold.
    """

    stage: str
    step: int
    num_steps: int
    metrics: Mapping[str, float]
    seconds: float
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


OnStep = Callable[[StepReport], None]


def unheard(report: StepReport) -> None:
    """Nobody listens."""
