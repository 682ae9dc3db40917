"""Classifier two-sample test: can a small network tell these scans from held-out real ones?

Trained on some subjects, tried on the others, until every scan was scored once. An AUC of 0.5 says
that it cannot, a little less too: what one part has more of, the others have less of. It sees what
means and neighbors in a feature space do not, blur above all: the first layer works at full
resolution, and nothing is augmented.
Reference: Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from medsynth.evaluate.agreement import auc
from medsynth.evaluate.readers import Images, to_tensor

Scores = Float[np.ndarray, " n"]


class TwoSampleConfig(BaseModel):
    """How the network learns; nothing is chosen by what it reaches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_folds: int = Field(default=2, ge=2)
    """Parts that the subjects are cut into; each is scored by a network trained on the others."""
    num_steps: int = Field(default=150, ge=1)
    """Optimizer steps of each network."""
    batch_size: int = Field(default=24, ge=2)
    """Scans a step, half of either kind."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """AdamW's."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels at full resolution and after each halving, multiples of 8."""
    num_draws: int = Field(default=200, ge=2)
    """Bootstrap resamples of the scored scans behind the interval."""


@dataclass(frozen=True)
class ToldApart:
    """The scores of both kinds, and the fold that each row was held out in."""

    real: Scores
    others: Scores
    folds: Int[np.ndarray, " n"]

    @property
    def auc(self) -> float:
        """Mean over folds: scores of different networks share no scale."""
        return self._auc(np.arange(len(self.folds)), np.arange(len(self.folds)))

    def interval(self, rng: np.random.Generator, num_draws: int) -> tuple[float, float]:
        """95 % interval over resampled scans; how the networks' training varies is not in it."""
        rows = [np.flatnonzero(self.folds == fold) for fold in np.unique(self.folds)]
        draws = [
            self._auc(*(np.concatenate([rng.choice(r, len(r)) for r in rows]) for _ in range(2)))
            for _ in range(num_draws)
        ]
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(low), float(high)

    def _auc(self, real: Int[np.ndarray, " n"], others: Int[np.ndarray, " n"]) -> float:
        found = []
        for fold in np.unique(self.folds):
            parts = (
                self.real[real[self.folds[real] == fold]],
                self.others[others[self.folds[others] == fold]],
            )
            is_other = np.repeat([0.0, 1.0], [len(part) for part in parts])
            found.append(auc(is_other, np.concatenate(parts)))
        return float(np.mean(found))


def tell_apart(real: Images, others: Images, config: TwoSampleConfig, *, seed: int) -> ToldApart:
    """Scores of every scan by a network that saw neither it nor the other of its row.

    Both sets are equally large, one scan a subject; where row i of both comes from one subject,
    as with round trips, the pair is never parted.
    """
    if len(real) != len(others) or len(real) < 2 * config.num_folds:
        raise ValueError(
            f"both sets must be equally large and hold at least {2 * config.num_folds}, "
            f"got {len(real)} and {len(others)}"
        )
    order = np.random.default_rng(seed).permutation(len(real))
    folds = np.empty(len(real), np.int64)
    folds[order] = np.arange(len(real)) % config.num_folds
    scores = np.zeros((2, len(real)))
    both = (to_tensor(real), to_tensor(others))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for fold in range(config.num_folds):
            is_out = torch.from_numpy(folds == fold)
            network = _train([side[~is_out] for side in both], config)
            for row, side in enumerate(both):
                scores[row, folds == fold] = _score(network, side[is_out])
    return ToldApart(scores[0], scores[1], folds)


def _train(sides: Sequence[Tensor], config: TwoSampleConfig) -> nn.Module:
    network = _network(config.widths, is_3d=sides[0].ndim == 5)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate)
    half = config.batch_size // 2
    truth = torch.tensor([0.0, 1.0]).repeat_interleave(half)
    for _ in range(config.num_steps):
        batch = torch.cat([side[torch.randint(len(side), (half,))] for side in sides])
        loss = F.binary_cross_entropy_with_logits(network(batch)[:, 0], truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval().requires_grad_(False)


def _network(widths: Sequence[int], *, is_3d: bool) -> nn.Module:
    conv: type[nn.Module] = nn.Conv3d if is_3d else nn.Conv2d
    layers: list[nn.Module] = []
    for before, after in pairwise((1, *widths)):
        stride = 2 if layers else 1
        layers += [conv(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()]
    pool = nn.AdaptiveAvgPool3d(1) if is_3d else nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(widths[-1], 1))


def _score(network: nn.Module, x: Tensor) -> Float[np.ndarray, " m"]:
    parts = [network(part)[:, 0] for part in torch.split(x, 64)]
    return torch.cat(parts).numpy().astype(np.float64)
