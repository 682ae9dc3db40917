"""Structured pruning: a slimmer denoiser that learns its teacher's velocity on the teacher's ways.

What may go is chosen by how much the output would change without it, to first order: the sum of
weight times gradient of a random projection of the output, squared (Molchanov et al., "Importance
Estimation for Neural Network Pruning", 2019, equation 8, with the output in place of a loss, which
is zero where the student is its teacher). Then the slim network is tuned; no real scan is read.
Reference: Fang et al., "Structural Pruning for Diffusion Models", 2023.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from medsynth.checkpoint import Generator
from medsynth.compress.slim import Kept, sizes_of, sliced, slim_config, spaces_of
from medsynth.compress.ways import Ways
from medsynth.models.denoiser import Denoiser
from medsynth.train.fit import Task, fit
from medsynth.train.ranks import Share
from medsynth.train.recipe import Recipe
from medsynth.train.report import OnStep
from medsynth.train.state import Progressed

NUM_PROBES = 8
"""Random projections of the output behind an importance."""


class PruneConfig(BaseModel):
    """How much is kept, and how long the slim network is tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: float = Field(default=0.5, gt=0, lt=1)
    """Share of each level's channels that is kept, in pairs of norm groups."""
    num_ways: int = Field(default=1024, ge=20)
    """Ways drawn from the teacher."""
    num_steps: int = Field(default=2000, ge=1)
    """Training steps."""
    batch: int = Field(default=64, ge=1)
    """Points of ways per step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak of the learning rate."""
    dropped: float = Field(default=0.1, ge=0, lt=1)
    """Share of attributes, and of whole requests, not asked for, which guidance needs."""


@dataclass(frozen=True, eq=False)
class Points:
    """Scaled latents on ways, when, and what was asked for."""

    x: Float[Tensor, "n c *latent"]
    t: Float[Tensor, " n"]
    condition: Float[Tensor, "n tokens dim"]

    @classmethod
    def at(cls, ways: Ways, rows: Int[Tensor, " n"], place: Float[Tensor, " n"]) -> "Points":
        """On a straight line between two neighbors, `place` (0 to 1) along the whole grid."""
        times = torch.from_numpy(ways.times).to(ways.points)
        far = place.to(times) * (len(times) - 1)
        first = far.long().clamp_max(len(times) - 2)
        share = far - first
        t = torch.lerp(times[first], times[first + 1], share)
        start, end = ways.points[rows, first], ways.points[rows, first + 1]
        x = torch.lerp(start, end, share.view(-1, *[1] * (start.ndim - 1)))
        return cls(x, t, ways.conditions[rows])

    def without(self, is_dropped: Tensor, unasked: Float[Tensor, "1 tokens dim"]) -> "Points":
        """The same points with some attributes not asked for."""
        dropped = is_dropped.unsqueeze(-1).to(self.x.device)
        return replace(self, condition=torch.where(dropped, unasked, self.condition))


class Follower(nn.Module):
    """The slim network that learns; forward is the squared distance from its teacher."""

    def __init__(self, denoiser: Denoiser, teacher: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._teacher = (teacher,)  # in a tuple, so that it is no part of what is trained

    def forward(self, points: Points) -> Float[Tensor, " n"]:
        """Mean over the latents of one point."""
        with torch.no_grad():
            wanted = self._teacher[0](points.x, points.t, points.condition)
        told = self.denoiser(points.x, points.t, points.condition)
        errors: Tensor = (told - wanted).square().flatten(1).mean(dim=1)
        return errors


def prune(dense: Denoiser, ways: Ways, keep: float, *, seed: int) -> Denoiser:
    """The network's most important channels, untuned."""
    slim = Denoiser(slim_config(dense.config, keep))
    kept = _most_important(dense, sizes_of(slim), _gradients(dense, ways, seed))
    return sliced(dense, slim, kept).to(ways.points.device).eval()


def tune(
    teacher: Generator,
    slim: Denoiser,
    ways: Ways,
    config: PruneConfig,
    *,
    seed: int,
    folder: Path,
    on_step: OnStep,
) -> tuple[Generator, Progressed]:
    """The teacher with the slim network in place of its own, tuned; `folder` holds the state."""
    ours = teacher.synthesizer
    assert isinstance(ours.denoiser, Denoiser)
    learned, held_out = ways.split(max(1, len(ways.points) // 10))
    follower = Follower(slim.requires_grad_(True), ours.denoiser)
    recipe = Recipe(
        stage="pruned",
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        seed=seed,
        batch=config.batch,
    )
    task = Task(follower, _loss(learned, config), _validation(held_out))
    progressed = fit(task, recipe, folder, on_step)
    return replace(teacher, synthesizer=replace(ours, denoiser=slim)), progressed


def _loss(ways: Ways, config: PruneConfig) -> Callable[[nn.Module, int, Share], dict[str, Tensor]]:
    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        rows = torch.randint(len(ways.points), (config.batch,))
        place = torch.rand(config.batch)
        tokens = ways.conditions.shape[1]
        dropped = torch.rand(config.batch, tokens) < config.dropped
        dropped |= torch.rand(config.batch, 1) < config.dropped
        mine = share.rows(config.batch)
        points = Points.at(ways, rows[mine], place[mine]).without(dropped[mine], ways.unasked)
        return {"loss": network(points).mean()}

    return loss


def _validation(ways: Ways) -> Callable[[nn.Module], float]:
    def validate(network: nn.Module) -> float:
        rows = torch.arange(len(ways.points))
        places = torch.linspace(0, 1, 6).tolist()
        losses = [
            network(Points.at(ways, rows, torch.full((len(rows),), place))).mean()
            for place in places
        ]
        return float(torch.stack(losses).mean())

    return validate


def _gradients(dense: Denoiser, ways: Ways, seed: int) -> list[dict[str, Tensor]]:
    """Weight times gradient of each weight, for several random projections of the output."""
    chance = torch.Generator().manual_seed(seed)
    weights = dict(dense.named_parameters())
    found = []
    for _ in range(NUM_PROBES):
        rows = torch.randint(len(ways.points), (32,), generator=chance)
        points = Points.at(ways, rows, torch.rand(32, generator=chance))
        with torch.enable_grad():
            for weight in weights.values():
                weight.requires_grad_(True)
            told = dense(points.x, points.t, points.condition)
            signs = torch.randn(told.shape, generator=chance).to(told)
            grads = torch.autograd.grad((told * signs).sum(), [*weights.values()])
        for weight in weights.values():
            weight.requires_grad_(False)
        found.append(
            {name: (g * weights[name]).detach() for name, g in zip(weights, grads, strict=True)}
        )
    return found


def _most_important(
    dense: Denoiser, slim_sizes: dict[str, int], probes: list[dict[str, Tensor]]
) -> Kept:
    sizes = sizes_of(dense)
    sums = [_sums(dense, probe, sizes) for probe in probes]
    kept = {}
    for name, size in sizes.items():
        unit = _unit(name, size, slim_sizes[name], dense)
        each = torch.stack([one[name].view(-1, unit).sum(1) for one in sums])
        best = each.square().sum(0).topk(slim_sizes[name] // unit).indices.sort().values
        kept[name] = (best[:, None] * unit + torch.arange(unit, device=best.device)).flatten()
    return kept


def _sums(dense: Denoiser, probe: dict[str, Tensor], sizes: dict[str, int]) -> dict[str, Tensor]:
    """The probe summed over everything that one channel of a space writes or reads."""
    like = next(iter(probe.values()))
    sums = {name: like.new_zeros(size) for name, size in sizes.items()}
    for name, sides in spaces_of(dense).items():
        for side, space in enumerate(sides):
            tensor = probe[name].movedim(side, 0)
            along = tensor.reshape(len(tensor), -1).sum(1)
            columns = torch.split(along, [sizes[part] for part in space]) if space else ()
            for part, column in zip(space, columns, strict=True):
                sums[part] += column
    return sums


def _unit(name: str, size: int, slim_size: int, dense: Denoiser) -> int:
    """Channels that go together: pairs of norm groups, whole heads where their width stays."""
    if name.startswith("level"):
        return 2 * size // dense.config.norm_groups
    if name.endswith((":a", ":b")):
        head = min(32, size)
        return head if slim_size % head == 0 else 1
    return 1
