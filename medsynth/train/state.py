"""Everything a killed training needs to go on, in one safetensors file.

Randomness needs no place in it: every draw is a function of (seed, step). A file's name holds
its step and its digest, so that a damaged one is known and the one before it is taken.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medsynth.core.digest import file_digest
from medsynth.models.ema import Ema

FOLDER = "training-state"
"""Folder, inside a stage's, of what only an unfinished training needs."""
_KEPT = 2
_DIGEST_CHARS = 16


@dataclass
class Progressed:
    """How far a training came: steps done, every metric reported, the best validation so far.

    `untold` are the metrics of a step that still has to be validated and told of.
    `ema_length` is that of the weights taken in the end, `validation_by_length` why; `snapshots`
    holds the digests of stored averages by their step.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_step: int = 0
    untold: dict[str, float] | None = None
    ema_length: float = 0.0
    validation_by_length: dict[str, float] = field(default_factory=dict)
    snapshots: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Learner:
    """A network and the optimizer that changes it in place."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Weights and the optimizer's memory."""
        entries = self.optimizer.state_dict()["state"].items()
        memory = {f"{i}/{name}": t for i, entry in entries for name, t in entry.items()}
        return joined({"network": self.network.state_dict(), "optimizer": memory})

    def take_up(self, tensors: Mapping[str, Tensor]) -> None:
        """What `tensors` gave."""
        parts = parted(tensors)
        self.network.load_state_dict(parts["network"])
        state: dict[int, dict[str, Any]] = {}
        for key, tensor in parts.get("optimizer", {}).items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})


@dataclass
class TrainingState:
    """Learners by name, averages of `main`, and those averages at the best step."""

    learners: Mapping[str, Learner]
    averages: tuple[Ema, ...]
    best: list[dict[str, Tensor]] = field(default_factory=list)
    progressed: Progressed = field(default_factory=Progressed)

    @property
    def main(self) -> Learner:
        """The network that is averaged and validated."""
        return self.learners["main"]

    @property
    def device(self) -> torch.device:
        """Where training runs."""
        return next(self.main.network.parameters()).device

    def tensors(self) -> dict[str, Tensor]:
        """All of them, by a path-like name."""
        averages = {str(i): a.network.state_dict() for i, a in enumerate(self.averages)}
        best = {str(i): weights for i, weights in enumerate(self.best)}
        learners = {name: learner.tensors() for name, learner in self.learners.items()}
        groups = {"learner": learners, "average": averages, "best": best}
        return joined({group: joined(parts) for group, parts in groups.items()})

    def save(self, folder: Path) -> None:
        """Write a state, then forget all but the last two."""
        folder.mkdir(exist_ok=True)
        about = {"progressed": json.dumps(vars(self.progressed))}
        part = folder / "state.part"
        write_tensors(part, self.tensors(), about)
        digest = file_digest(part)[:_DIGEST_CHARS]
        part.replace(folder / f"state-{self.progressed.step:08d}-{digest}.safetensors")
        for old in sorted(folder.glob("state-*.safetensors"))[:-_KEPT]:
            old.unlink()

    def load(self, folder: Path) -> int:
        """Take up the newest whole state, if any; returns how many damaged ones were passed by."""
        paths = sorted(folder.glob("state-*.safetensors"), reverse=True)
        for number, path in enumerate(paths):
            if path.stem.rpartition("-")[2] == file_digest(path)[:_DIGEST_CHARS]:
                self._take_up(path)
                return number
        return len(paths)

    def _take_up(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.progressed = Progressed(**json.loads(file.metadata()["progressed"]))
            groups = parted({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        for name, tensors in parted(groups["learner"]).items():
            self.learners[name].take_up(tensors)
        for name, tensors in parted(groups["average"]).items():
            self.averages[int(name)].network.load_state_dict(tensors)
        best = parted(groups.get("best", {}))
        self.best = [
            {key: tensor.to(self.device) for key, tensor in best[name].items()}
            for name in sorted(best)
        ]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: dict[str, str]) -> None:
    """A safetensors file, on the disk when this returns."""
    save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, path, metadata=about)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def joined(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of all groups, as group/name."""
    return {f"{group}/{name}": t for group, part in groups.items() for name, t in part.items()}


def parted(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What `joined` joined."""
    groups: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        group, _, name = path.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return groups
