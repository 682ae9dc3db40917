"""Differentially private steps of the training loop, for each subject with all of its scans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from medsynth.train.dp_accounting import Mechanism
from medsynth.train.dp_chance import Chance, draw_subjects, standard_normal
from medsynth.train.dp_config import DpConfig
from medsynth.train.dp_gradients import SubjectLoss, add_gaussian, sum_clipped
from medsynth.train.ranks import ALONE, Share

Rows = Int[Tensor, "subjects draws"]


@dataclass(frozen=True, eq=False)
class PrivateSteps:
    """Fills a network's gradients, as the loss of a `Task` whose gradients are filled.

    `inputs` makes tensors (subjects, draws, ...) of rows; `loss` is one subject's.
    """

    config: DpConfig
    mechanism: Mechanism
    rows_by_subject: Sequence[Int[np.ndarray, " _"]]
    inputs: Callable[[Rows], tuple[Tensor, ...]]
    loss: SubjectLoss
    chance: Chance = field(default_factory=Chance)

    def __call__(self, network: nn.Module, step: int, share: Share = ALONE) -> dict[str, Tensor]:
        """One step; reports the epsilon spent so far (RDP) and nothing of any scan.

        Private training has one process, whose share is everything.
        """
        ours, rate = self.config, self.mechanism.sampling_rate
        rows = draw_subjects(
            self.rows_by_subject,
            rate,
            ours.draws_per_subject,
            ours.scans_per_subject,
            self.chance.stream("subjects", step),
        )
        total = sum_clipped(network, self.loss, self.inputs(rows), ours.clip_norm)
        noise, sd = self.chance.stream("noise", step), self.mechanism.noise_multiplier
        noisy = add_gaussian(total, sd * ours.clip_norm, lambda like: standard_normal(like, noise))
        # By the expected number of subjects: the one that came is private.
        expected = rate * len(self.rows_by_subject)
        for name, parameter in network.named_parameters():
            if name in noisy:
                parameter.grad = noisy[name] / expected
        return {"epsilon": torch.tensor(self._spent(step + 1))}

    def _spent(self, num_steps: int) -> float:
        """Linear in between steps of a grid: a display, not the claim."""
        return float(np.interp(num_steps, *self._curve))

    @cached_property
    def _curve(self) -> tuple[list[int], list[float]]:
        last = self.mechanism.num_steps
        steps = sorted({max(1, round(last * share)) for share in np.linspace(0, 1, 11)})
        return steps, [self.mechanism.after(s).epsilon("rdp") for s in steps]


def rows_of_subjects(subjects: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
    """Positions of each subject's scans."""
    _, owners = np.unique(np.array(subjects), return_inverse=True)
    return [np.flatnonzero(owners == owner) for owner in range(owners.max() + 1)]
