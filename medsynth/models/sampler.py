"""Step rules for the flow's ODE on one fp64 grid with exact ends.

`ab2` is the two-step Adams-Bashforth rule with a Heun start: one pass a step, and one more.
Reference: Hairer, Norsett & Wanner, "Solving Ordinary Differential Equations I", III.5.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

Method = Literal["euler", "heun", "ab2"]
Velocity = Callable[[Tensor, float], Tensor]
"""(latents, t) to the velocity x0 - noise."""


def time_grid(num_steps: int, *, shift: float = 1.0) -> Float[np.ndarray, " points"]:
    """num_steps + 1 strictly falling times from exactly 1 to exactly 0."""
    if num_steps < 1 or shift <= 0:
        raise ValueError(f"need a step and a positive shift, got {num_steps} and {shift}")
    t = np.linspace(1, 0, num_steps + 1)
    return np.asarray(shift * t / (1 + (shift - 1) * t))


def integrate(
    velocity: Velocity, x: Tensor, times: Float[np.ndarray, " points"], method: Method = "ab2"
) -> Tensor:
    """Carry x from times[0] to times[-1]; ab2 takes len(times) passes."""
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    before: Tensor | None = None
    dt_before = 1.0
    for t, t_next in pairwise(times.tolist()):
        u, dt = velocity(x, t), t - t_next
        if method == "heun" or (method == "ab2" and before is None):
            slope = (u + velocity(x + dt * u, t_next)) / 2
        elif method == "ab2" and before is not None:
            slope = u + dt / (2 * dt_before) * (u - before)
        else:
            slope = u
        x, before, dt_before = x + dt * slope, u, dt
    return x
