"""Averages stored while training, and the length of average chosen once it is over.

training-state/averages-STEP.safetensors holds every average at one step. In the end the weights
at the best step are mixed for several lengths (models/ema.py), and validation chooses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from medsynth.core.digest import file_digest
from medsynth.models.ema import Average, Mixture, Weights, mix
from medsynth.train.state import TrainingState, joined, parted, write_tensors

LENGTHS = (0.03, 0.05, 0.07, 0.10, 0.14, 0.20)
"""Candidates, beside the lengths that were run."""
MOST_ERROR = 0.05
"""Of a candidate's profile; with more it is no average of that length."""

Validate = Callable[[nn.Module], float]


def store_averages(state: TrainingState, folder: Path) -> None:
    """Write all averages as they are, and their digest into the progress."""
    path = _path(folder, state.progressed.step)
    folder.mkdir(exist_ok=True)
    averages = {str(i): a.network.state_dict() for i, a in enumerate(state.averages)}
    write_tensors(path, joined(averages), {})
    state.progressed.snapshots[str(state.progressed.step)] = file_digest(path)


def take_best_average(state: TrainingState, validate: Validate, folder: Path) -> None:
    """Give the main network the average at the best step that validation likes most."""
    progressed, network = state.progressed, state.main.network
    stored = Stored.of(state, folder)
    lengths = sorted({*LENGTHS, *(average.length for average in state.averages)})
    mixtures = {
        length: Mixture.of(stored.known, Average(length, progressed.best_step))
        for length in lengths
    }
    mixtures = {length: one for length, one in mixtures.items() if one.error <= MOST_ERROR}
    mixed = dict(zip(mixtures, mix(list(mixtures.values()), stored.weights()), strict=True))
    losses = {length: _loss(network, weights, validate) for length, weights in mixed.items()}
    progressed.ema_length = min(losses, key=losses.__getitem__)
    progressed.validation_by_length = {f"{length:g}": loss for length, loss in losses.items()}
    network.load_state_dict(mixed[progressed.ema_length])


def _loss(network: nn.Module, weights: Weights, validate: Validate) -> float:
    network.load_state_dict(weights)
    with torch.no_grad():
        return validate(network.eval())


@dataclass(frozen=True, eq=False)
class Stored:
    """Whole snapshots before the best step, and the averages of that step itself."""

    state: TrainingState
    paths: dict[int, Path]

    @classmethod
    def of(cls, state: TrainingState, folder: Path) -> "Stored":
        """What lies in the folder as it was written; a damaged snapshot is left out."""
        digests = {int(step): d for step, d in state.progressed.snapshots.items()}
        paths = {step: _path(folder, step) for step in digests if step < state.progressed.best_step}
        whole = {s: p for s, p in paths.items() if p.is_file() and file_digest(p) == digests[s]}
        return cls(state, whole)

    @property
    def known(self) -> list[Average]:
        """Length and step of each."""
        steps = [*self.paths, self.state.progressed.best_step]
        return [Average(average.length, step) for step in steps for average in self.state.averages]

    def weights(self) -> Iterator[Weights]:
        """Weights of each, read one file at a time."""
        device = str(self.state.device)
        for path in self.paths.values():
            stored = parted(load_file(path, device=device))
            yield from (stored[name] for name in sorted(stored))
        yield from self.state.best


def _path(folder: Path, step: int) -> Path:
    return folder / f"averages-{step:08d}.safetensors"
