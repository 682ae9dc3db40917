"""Few steps: a student that learns where a whole step of its teacher's way ends.

The student is told how long the step is and predicts its mean velocity, (x_end - x_start) / span,
guidance included: one pass a step, in one to eight steps. It learns from ways that the teacher took
from fresh noise, so that no real scan is read again.
References: Frans et al., "One Step Diffusion via Shortcut Models", 2025 (networks that know their
step); Luhman & Luhman, "Knowledge Distillation in Iterative Generative Models", 2021 (learning
from the teacher's ways); Meng et al., "On Distillation of Guided Diffusion Models", 2023.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from medsynth.checkpoint import Generator
from medsynth.compress.ways import Ways
from medsynth.models.denoiser import SPAN_FEATURES, Denoiser
from medsynth.train.fit import Task, fit
from medsynth.train.ranks import Share
from medsynth.train.recipe import Recipe
from medsynth.train.report import OnStep
from medsynth.train.state import Progressed

LEVELS = 5
"""Steps of 1, 1/2, 1/4, 1/8 and 1/16 of the way."""
NUM_POINTS = 2 ** (LEVELS - 1)


class DistillConfig(BaseModel):
    """How long a student learns, and from how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_ways: int = Field(default=2048, ge=20)
    """Ways drawn from the teacher."""
    num_steps: int = Field(default=2000, ge=1)
    """Most training steps."""
    batch: int = Field(default=64, ge=1)
    """Parts of ways per step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak of the learning rate."""
    measured: tuple[int, ...] = Field(default=(1, 2, 4), min_length=1)
    """Numbers of steps that the student is tried with; the fewest that hold are recommended."""


DEFAULTS = DistillConfig()


@dataclass(frozen=True, eq=False)
class Leaps:
    """Parts of ways: where each begins, when, how long it is, and its mean velocity."""

    x: Float[Tensor, "n c *latent"]
    t: Float[Tensor, " n"]
    span: Float[Tensor, " n"]
    condition: Float[Tensor, "n tokens dim"]
    velocity: Float[Tensor, "n c *latent"]

    @classmethod
    def of(cls, ways: Ways, rows: Int[Tensor, " n"], first: Tensor, last: Tensor) -> "Leaps":
        """From one point of a way to a later one, for each row."""
        times = torch.from_numpy(ways.times).to(ways.points)
        span = times[first] - times[last]
        shape = (-1, *[1] * (ways.points.ndim - 2))
        start, end = ways.points[rows, first], ways.points[rows, last]
        velocity = (end - start) / span.view(shape)
        return cls(start, times[first], span, ways.conditions[rows], velocity)


class Student(nn.Module):
    """The denoiser that learns; forward is the squared error of each leap."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, leaps: Leaps) -> Float[Tensor, " n"]:
        """Mean over the latents of one leap."""
        told = self.denoiser(leaps.x, leaps.t, leaps.condition, leaps.span)
        errors: Tensor = (told - leaps.velocity).square().flatten(1).mean(dim=1)
        return errors


def distill(
    teacher: Generator,
    ways: Ways,
    config: DistillConfig,
    *,
    seed: int,
    folder: Path,
    on_step: OnStep,
) -> tuple[Generator, Progressed]:
    """A generator of the teacher's kind for `shortcut`; `folder` holds the state meanwhile.

    Raises ValueError where the teacher's target is not the flow.
    """
    ours = teacher.synthesizer
    if ours.objective.target != "flow":
        raise ValueError(
            f"only a flow can be distilled; this generator predicts {ours.objective.target}"
        )
    if len(ways.times) != NUM_POINTS + 1:
        raise ValueError(f"ways must have {NUM_POINTS + 1} points, got {len(ways.times)}")
    learned, held_out = ways.split(max(1, len(ways.points) // 10))
    # No imported network follows the flow.
    assert isinstance(ours.denoiser, Denoiser)
    student = Student(spanned(ours.denoiser)).to(ours.device)
    recipe = Recipe(
        stage="distilled",
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        seed=seed,
        batch=config.batch,
    )
    task = Task(student, _loss(learned, config.batch), _validation(held_out))
    progressed = fit(task, recipe, folder, on_step)
    return replace(teacher, synthesizer=replace(ours, denoiser=student.denoiser)), progressed


def spanned(denoiser: Denoiser) -> Denoiser:
    """The same network with room for the span, which it does not listen to yet."""
    copied = Denoiser(replace(denoiser.config, knows_spans=True))
    weights = dict(denoiser.state_dict())
    if not denoiser.config.knows_spans:
        name = "network.class_embedding.weight"
        silent = weights[name].new_zeros(len(weights[name]), SPAN_FEATURES)
        weights[name] = torch.cat([weights[name], silent], dim=1)
    copied.load_state_dict(weights)
    return copied


def _loss(ways: Ways, batch: int) -> Callable[[nn.Module, int, Share], dict[str, Tensor]]:
    """Leaps of every length alike, each beginning where a whole one may."""

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        rows = torch.randint(len(ways.points), (batch,))
        length = 2 ** torch.randint(LEVELS, (batch,))
        first = (torch.rand(batch) * (NUM_POINTS // length)).long() * length
        mine = share.rows(batch)
        leaps = Leaps.of(ways, rows[mine], first[mine], (first + length)[mine])
        return {"loss": network(leaps).mean()}

    return loss


def _validation(ways: Ways) -> Callable[[nn.Module], float]:
    """The mean over all leaps of ways that nothing was learned from."""

    def validate(network: nn.Module) -> float:
        rows, losses = torch.arange(len(ways.points)), []
        for length in (2**level for level in range(LEVELS)):
            for start in range(0, NUM_POINTS, max(length, NUM_POINTS // 4)):
                first = torch.full_like(rows, start)
                losses.append(network(Leaps.of(ways, rows, first, first + length)).mean())
        return float(torch.stack(losses).mean())

    return validate
