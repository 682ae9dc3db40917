"""One flow run at work: config, keys and home, and one way to show and record every stage."""

import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from flows.claim import bury, claim
from flows.config import RunConfig, read_config
from flows.display import show_progress
from flows.ending import ending_in_time
from flows.facts import Outcome
from flows.home import Home, set_environment
from flows.job import Job
from flows.tracking import Run, start_run
from medsynth.core.errors import MedsynthError
from medsynth.core.keys import Keys
from medsynth.core.stage import Artifact, Progress

TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
"""Receipts decide what is run again: Prefect keeps no results and hashes no inputs."""
FAILURE_LOG = "failure.log"


class StageFailed(MedsynthError):
    """A stage met a fault of ours; its own words stay in OUT, for they may name an input."""

    code = "stage_failed"


@dataclass
class Stage:
    """A stage at work."""

    session: "Session"
    run: Run
    progress: Progress

    def finish(self, artifact: Artifact, facts: Mapping[str, Any]) -> Artifact:
        """Record a stage folder: its receipt and facts in MLflow, a table in Prefect."""
        self.session.stages.append(artifact)
        self.run.log_stage(artifact)
        numbers = {k: float(v) for k, v in facts.items() if isinstance(v, int | float)}
        self.run.log_numbers(numbers)
        name, word = artifact.path.name, "reused" if artifact.reused else "made"
        rows = {"digest": artifact.digest, "came": word, **facts}
        table = [{"quantity": key, "value": value} for key, value in rows.items()]
        create_table_artifact(table, key=f"medsynth-{name}", description=f"Stage {name}")
        get_run_logger().info("%s %s, digest %s", name, word, artifact.digest[:12])
        return artifact


@dataclass
class Session:
    """What the stages of one flow run share."""

    job: Job
    config: RunConfig
    home: Home
    run: Run
    stages: list[Artifact] = field(default_factory=list)
    retrieved: Mapping[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    """What training said of its fold beforehand."""

    @property
    def out(self) -> Path:
        """Parent of every stage folder."""
        return self.job.out

    def outcome(self, report: Path | None = None) -> Outcome:
        """What this flow did so far."""
        stages, place = tuple(self.stages), self.home.tracking_uri
        return Outcome(stages, report, place, self.retrieved, dict(self.seconds))

    @cached_property
    def keys(self) -> Keys:
        """The secrets; raises KeysMissing."""
        return self.home.keys()

    @contextmanager
    def stage(self, name: str, *, shown: bool = True) -> Iterator[Stage]:
        """A stage with its progress and its nested MLflow run; faults lose their own words."""
        run, start = self.run.child(name), time.monotonic()
        try:
            with self._guarded(name):
                if shown:
                    with show_progress(name) as progress:
                        yield Stage(self, run, progress)
                else:
                    yield Stage(self, run, lambda done, total: None)
        except BaseException:
            run.end(failed=True)
            raise
        self.seconds[name] = time.monotonic() - start
        run.end(failed=False)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except MedsynthError as error:
            raise error from None
        except Exception as error:
            _write_private(self.out / FAILURE_LOG, traceback.format_exc())
            message = f"{name} stopped on {type(error).__name__}; see {FAILURE_LOG} in OUT"
            raise StageFailed(message) from None


@contextmanager
def open_session(job: Job, *, needs_keys: bool = True) -> Iterator[Session]:
    """Hold OUT, bury a killed run's traces, and track this one until it ends."""
    config = read_config(job.config, policy=job.policy, formats=job.formats)
    home = job.open_home()
    set_environment(home)
    if needs_keys:
        home.keys()
    with ending_in_time(), claim(job.out) as held:
        (job.out / FAILURE_LOG).unlink(missing_ok=True)
        run = start_run(home, config.name)
        bury(held.killed, run.client)
        held.write({"flow_run": _flow_run_id(), "mlflow_run": run.run_id})
        run.log_params(config.resolved())
        with _ended(run):
            yield Session(job, config, home, run)


@contextmanager
def _ended(run: Run) -> Iterator[None]:
    try:
        yield
    except BaseException:
        run.end(failed=True)
        raise
    run.end(failed=False)


def _flow_run_id() -> str:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("a session is opened inside a flow")
    return str(context.flow_run.id)


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
