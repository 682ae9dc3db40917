"""Peak memory of this process and everything it started."""

import threading
from types import TracebackType

import psutil

INTERVAL_S = 0.2


class PeakMemory:
    """Samples the resident memory, summed over the process tree, while it is entered."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, resident_bytes())
            if self._stop.wait(INTERVAL_S):
                return


def resident_bytes() -> int:
    """Resident memory of this process and its descendants, now."""
    this = psutil.Process()
    return sum(_resident(process) for process in [this, *this.children(recursive=True)])


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
