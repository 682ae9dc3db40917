"""One run at a time in an OUT, and the traces of a killed one put right.

A run holds a lock on OUT/.running and writes its ids there. The lock dies with its process, so
whoever gets it and still finds ids knows that their run was killed: Prefect and MLflow, which
cannot know, are told.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import UUID

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from medsynth.core.errors import MedsynthError

FILE_NAME = ".running"
_MOST_TASKS = 100
_KILLED = Crashed(message="The process was killed; found by the next run.")


class Busy(MedsynthError):
    """Another run is working in this OUT."""

    code = "busy"


class Claim:
    """The lock file of an OUT, held."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        file.seek(0)
        text = file.read()
        self.killed: dict[str, str] = json.loads(text) if text else {}

    def write(self, ids: dict[str, str]) -> None:
        """Put the ids of the run at work where the next one would find them."""
        self._file.seek(0)
        self._file.truncate()
        if ids:
            json.dump(ids, self._file)
        self._file.flush()


@contextmanager
def claim(out: Path) -> Iterator[Claim]:
    """Hold OUT alone; raises Busy where another process does."""
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o700)
    with (out / FILE_NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another run is at work in this folder; wait for it to end") from None
        held = Claim(file)
        try:
            yield held
        finally:
            held.write({})


def bury(killed: dict[str, str], client: MlflowClient) -> None:
    """Mark a killed run as such in Prefect and MLflow, with what was running inside it."""
    if "flow_run" in killed:
        _bury_flow_run(UUID(killed["flow_run"]))
    if "mlflow_run" in killed:
        _bury_mlflow_run(client, killed["mlflow_run"])


def _bury_flow_run(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:
            return  # another server's
        if run.state is None or run.state.is_final():
            return
        running = TaskRunFilter(
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING]))
        )
        inside = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        found = client.read_task_runs(
            flow_run_filter=inside,
            task_run_filter=running,
            sort=TaskRunSort.END_TIME_DESC,
            limit=_MOST_TASKS,
        )
        for task in found:
            client.set_task_run_state(task.id, _KILLED, force=True)
        client.set_flow_run_state(run_id, _KILLED, force=True)


def _bury_mlflow_run(client: MlflowClient, run_id: str) -> None:
    try:
        run = client.get_run(run_id)
    except MlflowException:
        return  # another store's
    inside = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"
    for some in [run, *client.search_runs([run.info.experiment_id], inside)]:
        if some.info.status == "RUNNING":
            client.set_terminated(some.info.run_id, "KILLED")
