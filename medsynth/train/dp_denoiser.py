"""What of the denoiser's training becomes private steps."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.models.conditioning import AttributeBatch
from medsynth.models.objective import Objective
from medsynth.train.dp import PrivateSteps, Rows, rows_of_subjects
from medsynth.train.dp_accounting import plan_mechanism
from medsynth.train.dp_config import DpConfig


def private_steps(
    x0: Float[Tensor, "n c *latent"],
    asked: AttributeBatch,
    subjects: Sequence[str],
    dp: DpConfig,
    *,
    num_steps: int,
    attribute_dropout: float,
    objective: Objective,
) -> PrivateSteps:
    """Steps over all subjects: nobody is set aside to validate, which would not be private."""
    rows_by_subject = rows_of_subjects(subjects)

    def inputs(rows: Rows) -> tuple[Tensor, ...]:
        flat = rows.flatten().to(x0.device)
        batch = asked.take(flat).dropped(attribute_dropout)
        noise = torch.randn((len(flat), *x0.shape[1:])).to(x0.device)
        times = objective.draw_times(len(flat)).to(x0.device)
        parts = (x0[flat], noise, times, batch.values, batch.states)
        return tuple(part.reshape(*rows.shape, *part.shape[1:]) for part in parts)

    mechanism = plan_mechanism(dp, len(rows_by_subject), num_steps)
    return PrivateSteps(dp, mechanism, rows_by_subject, inputs, prediction_error)


def prediction_error(
    forward: Callable[..., Tensor],
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    values: Tensor,
    states: Tensor,
) -> Tensor:
    """Mean over the draws of one subject."""
    return forward(x0, noise, t, AttributeBatch(values, states)).mean()
