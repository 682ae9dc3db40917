"""A candidate for its source's place, made from the source alone: no real scan is read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medsynth.checkpoint import Generator
from medsynth.compress.config import CompressConfig
from medsynth.compress.distill import NUM_POINTS, distill
from medsynth.compress.prune import prune, tune
from medsynth.compress.ways import Ways, draw_ways
from medsynth.core.errors import UsageProblem
from medsynth.models.denoiser import Denoiser
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.plan import Plan
from medsynth.sample.requests import resolve
from medsynth.train.report import OnStep

By = Literal["distill", "prune", "bf16", "int8"]
"""How a candidate is made: fewer steps, fewer channels or fewer bits."""


@dataclass(frozen=True, eq=False)
class Making:
    """What candidates are made from: the source, how it is sampled, and who may be asked for."""

    source: Generator
    how: SamplerConfig
    config: CompressConfig
    k_min: int
    seed: int

    def make(self, by: By, folder: Path, on_step: OnStep) -> Generator:
        """The candidate; `folder` keeps the state of a training."""
        if by in ("bf16", "int8"):
            return replace(self.source, precision=by)
        self._check_trainable()
        return (self._distill if by == "distill" else self._prune)(folder, on_step)

    def settings(self, by: By) -> dict[str, SamplerConfig]:
        """How the candidate is drawn from, by name: a student with each number of steps."""
        if by != "distill":
            return {by: self.how}
        steps = sorted(set(self.config.distill.measured))
        return {
            f"{count} step{'s' * (count > 1)}": SamplerConfig(count, "shortcut", Guidance())
            for count in steps
        }

    def _distill(self, folder: Path, on_step: OnStep) -> Generator:
        if self.source.synthesizer.objective.target != "flow":
            raise UsageProblem("only a flow can be distilled; this generator has another target")
        how = replace(self.how, num_steps=NUM_POINTS)
        ways = self._ways(self.config.distill.num_ways, how)
        return distill(
            self.source, ways, self.config.distill, seed=self.seed, folder=folder, on_step=on_step
        )[0]

    def _prune(self, folder: Path, on_step: OnStep) -> Generator:
        config, dense = self.config.prune, self.source.synthesizer.denoiser
        assert isinstance(dense, Denoiser)
        ways = self._ways(config.num_ways, replace(self.how, num_steps=NUM_POINTS))
        slim = prune(dense, ways, config.keep, seed=self.seed)
        return tune(
            self.source, slim, ways, config, seed=self.seed, folder=folder, on_step=on_step
        )[0]

    def _check_trainable(self) -> None:
        denoiser = self.source.synthesizer.denoiser
        if not isinstance(denoiser, Denoiser) or denoiser.config.knows_spans:
            raise UsageProblem("only a denoiser of our own that was not yet distilled can learn on")
        if denoiser.config.has_positions:
            raise UsageProblem("a generator that is asked with masks can take bf16 or int8 alone")
        if self.source.precision == "bf16":
            raise UsageProblem("a generator in bf16 cannot learn on; compress its fp32 source")

    def _ways(self, count: int, how: SamplerConfig) -> Ways:
        """Ways of the trained mix of attributes, whatever the plan asks for."""
        plan = Plan.model_validate({"count": count, "seed": self.seed})
        wanted = resolve(plan, self.source.schema, self.source.cells, self.k_min)
        return draw_ways(self.source, [wanted[row] for row in range(count)], self.seed, how)
