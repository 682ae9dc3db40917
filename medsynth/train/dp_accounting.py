"""What the noise of a private training buys: epsilon at a delta, by Opacus' accountants.

Numerical composition (PRV): Gopi, Lee & Wutschitz, "Numerical Composition of Differential
Privacy", NeurIPS 2021. RDP: Mironov, Talwar & Zhang, "Renyi Differential Privacy of the Sampled
Gaussian Mechanism", 2019. Two data sets are neighbors when one has a subject more.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

from medsynth.core.errors import UsageProblem
from medsynth.train.dp_config import DpConfig

Accountant = Literal["prv", "rdp"]
_PRV_ERROR = 0.001


@dataclass(frozen=True)
class Mechanism:
    """The Gaussian mechanism on Poisson samples of subjects, once a step.

    The noise's sd is `noise_multiplier` times the clipping norm.
    """

    noise_multiplier: float
    sampling_rate: float
    num_steps: int
    delta: float

    def epsilon(self, accountant: Accountant = "prv") -> float:
        """An upper bound of epsilon after all steps; infinite without noise."""
        if self.noise_multiplier == 0:
            return inf
        with _opacus() as opacus:
            spent = opacus.PRVAccountant() if accountant == "prv" else opacus.RDPAccountant()
            spent.history = [(self.noise_multiplier, self.sampling_rate, self.num_steps)]
            how = {"eps_error": _PRV_ERROR} if accountant == "prv" else {}
            return float(spent.get_epsilon(self.delta, **how))

    def after(self, num_steps: int) -> "Mechanism":
        """The same, stopped after so many steps."""
        return replace(self, num_steps=num_steps)


def plan_mechanism(config: DpConfig, num_subjects: int, num_steps: int) -> Mechanism:
    """The least noise that keeps the promised epsilon at delta = 1 / (10 subjects)."""
    rate, delta = min(1.0, config.subjects_per_step / num_subjects), 1 / (10 * num_subjects)
    with _opacus() as opacus:
        noise = opacus.utils.get_noise_multiplier(
            target_epsilon=config.epsilon,
            target_delta=delta,
            sample_rate=rate,
            steps=num_steps,
            accountant="prv",
        )
    return Mechanism(float(noise), rate, num_steps, delta)


@contextmanager
def _opacus() -> Iterator[Any]:
    """Its accountants; they warn where more orders could bound epsilon a little tighter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import opacus.accountants.utils  # type: ignore[import-untyped]
        except ModuleNotFoundError:
            raise UsageProblem(
                "private training needs Opacus; install medsynth with its extra `dp`"
            ) from None
        yield opacus.accountants
