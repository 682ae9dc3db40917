"""What training says of itself, every few steps; the caller logs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """Where a stage stands: `seconds` since this process began it, metrics of this step."""

    stage: str
    step: int
    num_steps: int
    metrics: Mapping[str, float]
    seconds: float


OnStep = Callable[[StepReport], None]


def unheard(report: StepReport) -> None:
    """Nobody listens."""
