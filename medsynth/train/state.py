"""Everything a killed training needs to go on, in one safetensors file.

Randomness needs no place in it: every draw is a function of (seed, step).
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medsynth.models.ema import Ema

FILE_NAME = "training-state.safetensors"


@dataclass
class Progressed:
    """How far a training came: steps done, every metric reported, the best validation so far."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_step: int = 0


@dataclass
class TrainingState:
    """Network, optimizer, average and the best average, which change in place."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema
    best: dict[str, Tensor]
    progressed: Progressed

    def save(self, path: Path) -> None:
        """Write under a temporary name, then rename: a file is whole or not there."""
        groups = {
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "best": self.best,
            "optimizer": _flat(self.optimizer.state_dict()["state"]),
        }
        tensors = {f"{g}/{name}": t.cpu() for g, part in groups.items() for name, t in part.items()}
        # Shared storage is no saved tensor's own: copies keep safetensors content.
        tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        part = path.with_name(path.name + ".part")
        save_file(tensors, part, metadata={"progressed": json.dumps(vars(self.progressed))})
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)

    def load(self, path: Path) -> None:
        """Take up what `save` wrote."""
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = tensor
        self.network.load_state_dict(groups["network"])
        self.ema.network.load_state_dict(groups["ema"])
        self.best = groups.get("best", {})
        optimizer = self.optimizer.state_dict() | {"state": _nested(groups["optimizer"])}
        self.optimizer.load_state_dict(optimizer)
        self.progressed = Progressed(**json.loads(metadata["progressed"]))


def _flat(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{i}/{name}": t for i, entries in state.items() for name, t in entries.items()}


def _nested(flat: dict[str, Tensor]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in flat.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = tensor
    return state
