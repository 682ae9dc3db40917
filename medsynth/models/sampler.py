"""From noise to an image, along a grid of times.

A network's output at x_t = a x0 + s eps tells of an image and a noise. A step to (a', s') moves

    x + (a' - a) image + (s' - s) noise

by what was told here (euler on the straight path, elsewhere called ddim: Song et al., "Denoising
Diffusion Implicit Models", 2021), by the mean of here and there (heun), or by a line through here
and the point before, half a step ahead (ab2, the two-step Adams-Bashforth rule with a Heun
start: Hairer, Norsett & Wanner, "Solving Ordinary Differential Equations I", III.5).
shortcut leaps as ddim does, with a network that knows how far it will be carried (Frans et al.,
"One Step Diffusion via Shortcut Models", 2025). ancestral draws from the exact posterior of the
forward chain (Ho et al., "Denoising Diffusion Probabilistic Models", 2020, equation 7). Every
rule reads the next time from its own grid: fewer steps are never a fault.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.models.objective import Objective

Method = Literal["euler", "heun", "ab2", "ddim", "ancestral", "shortcut"]
Predict = Callable[[Tensor, float, float], Tensor]
"""(latents, t, span of time that the output will carry them over, or 0) to the output."""
FreshNoise = Callable[[int], Tensor]
"""Number of a step to standard normal noise of the latents' shape."""
Times = Float[np.ndarray, " points"]
Told = Float[Tensor, "2 n *rest"]
"""Image and noise."""
Watch = Callable[[int, Tensor], None]
"""Called with the number of each point of the grid, from 0, and the latents there."""


def unwatched(number: int, latents: Tensor) -> None:
    """Nobody watches."""


def check_method(method: str, objective: Objective) -> None:
    """Raise ValueError for an unknown rule, or one that a path has not."""
    if method not in get_args(Method):
        raise ValueError(
            f"method must be one of {', '.join(get_args(Method))}, got {method!r}; "
            "ancestral is DDPM's own rule for any number of steps"
        )
    if method in ("euler", "shortcut") and objective.target != "flow":
        raise ValueError(
            f"{method} steps along the flow; where {objective.target} is told, take ddim"
        )


def integrate(
    predict: Predict,
    x: Tensor,
    times: Times,
    *,
    objective: Objective,
    method: Method,
    fresh_noise: FreshNoise | None = None,
    watch: Watch = unwatched,
) -> Tensor:
    """Carry x from times[0] to times[-1].

    One pass a step; heun takes two, ab2 one more in all. Only ancestral draws fresh noise.
    """
    check_method(method, objective)
    if (method == "ancestral") != (fresh_noise is not None):
        raise ValueError("ancestral needs fresh noise, and no other rule reads any")

    def told(x: Tensor, t: float, t_next: float) -> Told:
        time = torch.tensor(t, dtype=torch.float64, device=x.device)
        output = predict(x, t, t - t_next if method == "shortcut" else 0.0)
        return torch.stack(objective.clean_and_noise(x, output, time))

    points = (
        _follow(told, x, times, objective, method)
        if fresh_noise is None
        else _renoise(told, x, times, objective, fresh_noise)
    )
    for number, x in enumerate(points):
        watch(number, x)
    return x


def _follow(
    told: Callable[[Tensor, float, float], Told],
    x: Tensor,
    times: Times,
    objective: Objective,
    method: Method,
) -> Iterator[Tensor]:
    yield x
    schedule = objective.schedule
    before: Told | None = None
    length_before = 1.0
    for t, t_next in pairwise(times.tolist()):
        (a, s), (a_next, s_next) = schedule.at(t), schedule.at(t_next)
        length = schedule.way(t) - schedule.way(t_next)
        here = used = told(x, t, t_next)
        if method == "heun" or (method == "ab2" and before is None):
            # Only the flow's network knows what to say of a clean image.
            if t_next > 0 or objective.target == "flow":
                ahead = x + (a_next - a) * here[0] + (s_next - s) * here[1]
                there = told(ahead, t_next, t_next)
                used = (here + there) / 2
        elif method == "ab2" and before is not None:
            used = here + length / (2 * length_before) * (here - before)
        x = x + (a_next - a) * used[0] + (s_next - s) * used[1]
        before, length_before = here, length
        yield x


def _renoise(
    told: Callable[[Tensor, float, float], Told],
    x: Tensor,
    times: Times,
    objective: Objective,
    fresh_noise: FreshNoise,
) -> Iterator[Tensor]:
    yield x
    for step, (t, t_next) in enumerate(pairwise(times.tolist())):
        (a, s), (a_next, s_next) = objective.schedule.at(t), objective.schedule.at(t_next)
        clean, noise = told(x, t, t_next)
        kept = a * s_next**2 / (a_next * s)
        x = a_next * clean + kept * noise
        if s_next > 0:
            x = x + math.sqrt(s_next**2 - kept**2) * fresh_noise(step)
        yield x
