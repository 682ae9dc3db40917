"""What this machine can do at most, measured in the run: reference/performance.md, section 4.

limit = max(FLOP / peak, bytes / bandwidth). Peaks are the best of many short windows; seconds are
those of the processor, per thread, so that neighbors take nothing; with a GPU those on the wall.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from medsynth.rivals.pace import clock

WINDOWS = 20
SIDES = {"cpu": (512, 1024), "cuda": (4096, 8192)}


def seconds_of(function: Callable[[], object]) -> float:
    """Of one call, with all that a GPU has still to do for it."""
    began = clock()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - began


@dataclass(frozen=True)
class Machine:
    """Peaks of matrix products, FLOP/s, and of copying, bytes read and written per second."""

    fp32: float
    bf16: float
    copy: float

    @classmethod
    def measure(cls, device: torch.device) -> "Machine":
        """On as many threads as torch has."""
        return cls(
            _peak_gemm(torch.float32, device), _peak_gemm(torch.bfloat16, device), _copy(device)
        )

    def limit(self, flop: float, dtype: torch.dtype, num_bytes: float = 0) -> float:
        """Least seconds for so much work."""
        peak = self.bf16 if dtype == torch.bfloat16 else self.fp32
        return max(flop / peak, num_bytes / self.copy)

    def __str__(self) -> str:
        return (
            f"matrix products {self.fp32 / 1e9:.0f} GF/s in fp32, {self.bf16 / 1e9:.0f} in bf16; "
            f"copying {self.copy / 1e9:.1f} GB/s"
        )


def _peak_gemm(dtype: torch.dtype, device: torch.device) -> float:
    found = []
    for side in SIDES[device.type]:
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        best = min(seconds_of(lambda a=a, b=b: a @ b) for _ in range(WINDOWS))
        found.append(2 * side**3 / best)
    return max(found)


def _copy(device: torch.device) -> float:
    source = torch.rand(2**25 if device.type == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)
    best = min(seconds_of(lambda: target.copy_(source)) for _ in range(WINDOWS))
    return 2 * source.nbytes / best


def flop_of(function: Callable[[], object]) -> int:
    """Multiplications and additions of the products and convolutions in one call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def machine_line() -> str:
    """Date, processor, threads, versions and what else is running."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {model}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, {device}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, MONAI {version('monai')}, load average {load}"
    )
