"""How long a training will take and what it will need, from a few steps measured beforehand.

The network, its optimizer and its companions are as before afterwards.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from medsynth.core.errors import MedsynthError
from medsynth.train.ranks import Share
from medsynth.train.state import TrainingState

_TIMED = 3
_STATES = 3
"""State files that lie side by side for a moment: two kept, one being written."""
_SAFETY = 0.05
_CLEAR = Path("/proc/self/clear_refs")
"""Where Linux takes the order to forget the highest resident set so far."""

Advance = Callable[[int, Share], object]
"""One whole training step: its number, and the share of the batch."""


class NotEnough(MedsynthError):
    """Memory or disk that training would need and the machine does not have."""

    code = "not_enough_resources"


@dataclass(frozen=True)
class Forecast:
    """Seconds of one step and one validation, highest memory of this process, and disk."""

    step_seconds: float
    validation_seconds: float
    peak_bytes: int
    disk_bytes: int

    @property
    def needs(self) -> str:
        """Memory and disk, for a person."""
        return f"{self.peak_bytes / 1e9:.2f} GB of memory, {self.disk_bytes / 1e9:.2f} GB of disk"

    def seconds(self, num_steps: int, validate_every: int) -> float:
        """Of so many steps, where none is saved by an early stop."""
        return num_steps * (self.step_seconds + self.validation_seconds / validate_every)


@dataclass(frozen=True, eq=False)
class Trial:
    """What is measured: a step, a validation, and the state that both work on."""

    state: TrainingState
    advance: Advance
    validate: Callable[[], object]
    batch: int
    """Scans of a step."""
    num_snapshots: int

    def run(self, share: Share, folder: Path) -> Forecast:
        """Measure; raises NotEnough where memory or disk will not do."""
        learners = self.state.learners
        before = {
            name: {key: tensor.clone() for key, tensor in learner.tensors().items()}
            for name, learner in learners.items()
        }
        try:
            forecast = self._measure(share, folder)
        except torch.OutOfMemoryError:
            raise NotEnough(
                "one training step must fit into the device's memory and does not; "
                "take a smaller batch or fewer channels"
            ) from None
        finally:
            for name, learner in learners.items():
                learner.take_up(before[name])
        return forecast

    def _measure(self, share: Share, folder: Path) -> Forecast:
        disk = self._disk_bytes(folder)
        memory = Memory(self.state.device)
        self._try_part(memory, share)
        memory.start()
        self.advance(0, share)
        durations = [memory.seconds(lambda: self.advance(0, share)) for _ in range(_TIMED)]
        validation = memory.seconds(self.validate) if share.is_first else 0.0
        peak = memory.peak() + self._best_bytes
        memory.require(peak)
        return Forecast(statistics.median(durations), validation, peak, disk)

    def _try_part(self, memory: "Memory", share: Share) -> None:
        """A quarter of the batch first: what is far too much must not be tried whole."""
        part = Share(0, min(4 * share.world, self.batch))
        tried, all_of_it = len(part.rows(self.batch)), len(share.rows(self.batch))
        base = memory.start()
        self.advance(0, part)
        peak = memory.peak()
        per_scan = max(0, peak - base - 3 * self._weight_bytes) / tried
        memory.require(int(peak + per_scan * (all_of_it - tried)))

    @property
    def _weight_bytes(self) -> int:
        return sum(t.nbytes for t in self.state.main.network.state_dict().values())

    @property
    def _best_bytes(self) -> int:
        """What validation will keep beside what is there now."""
        return len(self.state.averages) * self._weight_bytes

    def _disk_bytes(self, folder: Path) -> int:
        """Of states and snapshots; raises NotEnough where there is less."""
        optimizers = 3 * sum(
            tensor.nbytes
            for learner in self.state.learners.values()
            for tensor in learner.network.state_dict().values()
        )
        needed = _STATES * (optimizers + 2 * self._best_bytes)
        needed += self.num_snapshots * self._best_bytes
        free = int(shutil.disk_usage(folder).free)
        if needed * (1 + _SAFETY) > free:
            raise NotEnough(
                f"training needs {needed / 1e9:.1f} GB of disk for its states, but only "
                f"{free / 1e9:.1f} GB are free; make room or lower num_snapshots"
            )
        return int(needed)


class Memory:
    """Memory that this process holds on a device, at most, since it was last asked to watch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def _is_cuda(self) -> bool:
        return self._device.type == "cuda"

    def start(self) -> int:
        """Watch from now on; what is held now."""
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats()
            return int(torch.cuda.memory_reserved())
        if _CLEAR.exists():
            _CLEAR.write_text("5")
        return self.peak()

    def peak(self) -> int:
        """The most since `start`."""
        if self._is_cuda:
            return int(torch.cuda.max_memory_reserved())
        if not _CLEAR.exists():
            return int(psutil.Process().memory_info().rss)
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024

    def available(self) -> int:
        """The most that this process could hold."""
        if self._is_cuda:
            return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
        free = int(psutil.virtual_memory().available)
        limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
        if limit.is_file() and (text := limit.read_text().strip()) != "max":
            free = min(free, int(text) - int(used.read_text()))
        return free + int(psutil.Process().memory_info().rss)

    def require(self, needed: int) -> None:
        """Raise NotEnough where so much, and a little more, is not there."""
        available = self.available()
        if needed * (1 + _SAFETY) > available:
            raise NotEnough(
                f"training needs {needed / 1e9:.1f} GB of memory, but only "
                f"{available / 1e9:.1f} GB are available; take a smaller batch or fewer channels"
            )

    def seconds(self, work: Callable[[], object]) -> float:
        """How long it takes, to its end on the device."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()
