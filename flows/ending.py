"""An end that was asked for (SIGTERM) comes within seconds.

Schedulers and torchrun signal whole process groups: Prefect's temporary server may be gone before
the flow that reports to it, which would then try again for half a minute. What was learned is
saved by then, and the next run tells Prefect and MLflow what became of this one (claim.py).
"""

import os
import sys
import threading

import psutil

from flows.answer import refusal
from medsynth.core.errors import MedsynthError

_SECONDS = 4.0


def end_soon(error: MedsynthError) -> None:
    """From now on the process may end in order; after four seconds it ends as it is."""
    timer = threading.Timer(_SECONDS, _end_now, [error])
    timer.daemon = True
    timer.start()


def _end_now(error: MedsynthError) -> None:
    for child in psutil.Process().children(recursive=True):
        child.kill()
    print(f"medsynth: {error}", file=sys.stderr, flush=True)
    if "--json" in sys.argv:
        print(refusal(error).to_json(0.0), flush=True)
    os._exit(error.exit_code)
