"""B9: guided scans per second at equal quality, our sampler beside MONAI's on equal weights.

    OMP_NUM_THREADS=1 python -m benchmarks.guided_sampling CHECKPOINT PREPARED \
        [--weight 1.5] [--batch 32] [--rounds 5] [--quick] [--write]

The peer is DiffusionInferer with `cfg` and RFlowScheduler, 30 and 50 steps, fp32. Ours is ab2 with
bf16: first guided at all times, with the fewest steps whose RMSE to the same fine solution is no
larger than the peer's; then between the times 0.1 and 0.9 alone, as shipped, in ten steps and
fewer. That is another equation, so the gate is the MMD of decoded scans to real ones that training
never saw; it may be larger than the peer's by what two halves of the real ones differ by chance.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import RFlowScheduler
from torch import Tensor

from benchmarks.comparison import Gate, Result, tell
from benchmarks.monai_peer import UNASKED, Velocity
from benchmarks.roofline import Machine, flop_of, seconds_of
from benchmarks.trained import Trained, trained_arguments
from medsynth.evaluate.features import frozen_features
from medsynth.evaluate.fidelity import Whitening, bandwidth, mmd_by_chance, squared_mmd
from medsynth.models.guidance import Guidance, guided
from medsynth.models.memory import decode
from medsynth.models.sampler import integrate

PEER_STEPS = (30, 50)
FEW_STEPS, MOST_STEPS, FINE = (10, 8, 6, 5, 4), 24, 100
GOAL = 10
Draw = Callable[[Tensor, Tensor], Tensor]
"""(noise, condition) to latents."""


@dataclass(frozen=True, eq=False)
class Samplers:
    """Ways to draw from one generator with one weight of guidance."""

    trained: Trained
    weight: float

    def ours(self, steps: int, *, is_bf16: bool, low: float = 0.0, high: float = 1.0) -> Draw:
        synthesizer = self.trained.generator.synthesizer
        guidance = Guidance(self.weight, low, high)

        def draw(noise: Tensor, condition: Tensor) -> Tensor:
            null = self.trained.null.expand_as(condition)
            asked = [(null, 1 - self.weight), (condition, self.weight)]
            with (
                torch.inference_mode(),
                torch.autocast(noise.device.type, torch.bfloat16, enabled=is_bf16),
            ):
                return integrate(
                    guided(synthesizer.denoiser, asked, guidance),
                    noise,
                    synthesizer.objective.schedule.grid(steps),
                    objective=synthesizer.objective,
                    method="ab2",
                )

        return draw

    def peer(self, steps: int) -> Draw:
        network = Velocity(self.trained.generator.synthesizer.denoiser, self.trained.null)
        scheduler = RFlowScheduler()
        scheduler.set_timesteps(steps)
        inferer = DiffusionInferer(scheduler)

        def draw(noise: Tensor, condition: Tensor) -> Tensor:
            return inferer.sample(
                noise,
                network,
                conditioning=condition,
                verbose=False,
                cfg=self.weight,
                cfg_fill_value=UNASKED,
            )

        return draw


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a way drew, round by round, and how long each round took."""

    latents: Tensor
    seconds: Sequence[float]


def draw_rounds(trained: Trained, ways: Sequence[Draw], batch: int, rounds: int) -> list[Drawn]:
    """Each round has a noise and conditions of its own, the same for every way."""
    noise = trained.noise(0, batch * rounds).split(batch)
    for way in ways:
        way(noise[0], trained.condition(0, batch))
    drawn = [
        [draw_once(way, start, trained.condition(number * batch, batch)) for way in ways]
        for number, start in enumerate(noise)
    ]
    return [
        Drawn(torch.cat([latents for latents, _ in one]), [taken for _, taken in one])
        for one in zip(*drawn, strict=True)
    ]


def draw_once(way: Draw, noise: Tensor, condition: Tensor) -> tuple[Tensor, float]:
    """Latents and seconds."""
    found: list[Tensor] = []
    taken = seconds_of(lambda: found.append(way(noise, condition)))
    return found[0], taken


def rmse(found: Tensor, fine: Tensor) -> float:
    return float((found - fine).square().mean().sqrt())


def fewest_steps(samplers: Samplers, most_error: float, fine: Tensor, *given: Tensor) -> int:
    """The fewest steps of ours in bf16 that are no worse; the most where none are."""
    for steps in range(2, MOST_STEPS):
        if rmse(samplers.ours(steps, is_bf16=True)(*given), fine) <= most_error:
            return steps
    return MOST_STEPS


@dataclass(frozen=True, eq=False)
class Judge:
    """Squared MMD to real scans, in features that nobody trained."""

    whitening: Whitening
    real: np.ndarray
    width: float

    @classmethod
    def of(cls, volumes: np.ndarray) -> "Judge":
        features = frozen_features(volumes)
        whitening = Whitening.fit(features)
        real = whitening(features)
        return cls(whitening, real, bandwidth(real))

    @property
    def chance(self) -> float:
        return mmd_by_chance(self.real, self.width, np.random.default_rng(0), num_draws=200)

    def __call__(self, volumes: np.ndarray) -> float:
        features = self.whitening(frozen_features(volumes))
        return squared_mmd(self.real, features, self.width)


def decoded(trained: Trained, latents: Tensor) -> np.ndarray:
    """Volumes in [0, 1]."""
    ours = trained.generator.synthesizer
    parts = ours.scale.undo(latents).split(32)
    images = [decode(ours.autoencoder, part, ours.free_bytes) for part in parts]
    return np.concatenate([ours.frame.to_volumes(image) for image in images])


def passes(steps: int, low: float, high: float) -> int:
    """Through the network for each scan, guided ones counted twice."""
    times = np.linspace(1, 0, steps + 1)
    asked = [times[0], times[1], *times[1:-1]]
    return sum(1 + (low <= time <= high) for time in asked)


def compare(
    trained: Trained, weight: float, batch: int, rounds: int, machine: Machine, num_fine: int
) -> Iterator[Result]:
    samplers = Samplers(trained, weight)
    given = trained.noise(0, batch)[:16], trained.condition(0, batch)[:16]
    fine = samplers.ours(num_fine, is_bf16=False)(*given)
    errors = [rmse(samplers.peer(steps)(*given), fine) for steps in PEER_STEPS]
    fewest = [fewest_steps(samplers, error, fine, *given) for error in errors]
    interval = Guidance().low, Guidance().high
    ways = [
        *(samplers.peer(steps) for steps in PEER_STEPS),
        *(samplers.ours(steps, is_bf16=True) for steps in fewest),
        samplers.ours(FEW_STEPS[0], is_bf16=False, low=interval[0], high=interval[1]),
        *(
            samplers.ours(steps, is_bf16=True, low=interval[0], high=interval[1])
            for steps in FEW_STEPS
        ),
    ]
    drawn = draw_rounds(trained, ways, batch, rounds)
    denoiser = trained.generator.synthesizer.denoiser
    once = flop_of(lambda: denoiser(given[0], torch.ones(len(given[0])).to(given[0]), given[1]))
    each = once / len(given[0]) * batch

    def limit(steps: int, low: float, high: float, dtype: torch.dtype) -> float:
        return machine.limit(passes(steps, low, high) * each, dtype)

    for place, steps in enumerate(PEER_STEPS):
        own = rmse(samplers.ours(fewest[place], is_bf16=True)(*given), fine)
        what = f"guided throughout, {fewest[place]} steps, bf16: MONAI, {steps} steps"
        gate = Gate("RMSE to the fine solution", own, errors[place])
        taken = drawn[place].seconds, drawn[2 + place].seconds
        yield Result(what, *taken, GOAL, limit(fewest[place], 0, 1, torch.bfloat16), (gate,))
    judge = Judge.of(trained.volumes)
    distances = [judge(decoded(trained, one.latents)) for one in drawn]
    kinds = [(FEW_STEPS[0], "fp32", torch.float32)]
    kinds += [(steps, "bf16", torch.bfloat16) for steps in FEW_STEPS]
    for way, (few, name, dtype) in enumerate(kinds, start=4):
        for place, steps in enumerate(PEER_STEPS):
            gate = Gate("squared MMD", distances[way], distances[place] + judge.chance)
            what = f"guided in the interval, {few} steps, {name}: MONAI, {steps} steps"
            taken = drawn[place].seconds, drawn[way].seconds
            yield Result(what, *taken, GOAL, limit(few, *interval, dtype), (gate,))


def main() -> None:
    parser = trained_arguments(__doc__, rounds=5)
    parser.add_argument("--weight", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    trained = Trained.read(given.checkpoint, given.prepared)
    machine = Machine.measure(trained.generator.synthesizer.device)
    batch, num_fine = (4, 30) if given.quick else (given.batch, FINE)
    results = list(compare(trained, given.weight, batch, given.rounds, machine, num_fine))
    notes = [f"weight {given.weight}, {batch} scans a round; each round has its own noise"]
    tell("B9, guided sampling", results, machine, notes, given.write)


if __name__ == "__main__":
    main()
