"""Retrieval as a task: what is new in an archive comes into the spool before ingest reads it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.client.schemas.objects import TaskRun
from prefect.states import State
from prefect.tasks import exponential_backoff

from flows.home import archive_secrets, require_folder
from flows.session import TASK, Session
from medsynth.core.errors import UsageProblem
from medsynth.ingest.pacs.address import parse_address
from medsynth.ingest.pacs.connect import connected
from medsynth.ingest.pacs.credentials import Credentials
from medsynth.ingest.pacs.problems import RETRIEVAL_REASONS, ArchiveUnreachable
from medsynth.ingest.pacs.retrieve import retrieve
from medsynth.ingest.pacs.spool import Spool, open_spool


def _is_worth_another_try(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """An archive that does not answer may do so later; one that refuses waits for a person."""
    try:
        state.result()
    except ArchiveUnreachable:
        return True
    except Exception:
        return False
    return False


@task(name="retrieve", retry_condition_fn=_is_worth_another_try, **TASK)
def retrieve_series(session: Session, spool: Spool) -> dict[str, Any]:
    """Fill the spool from the archive of the job; returns counts and nothing else."""
    config, address = session.config.pacs, parse_address(session.job.archive or "")
    credentials = Credentials.read(archive_secrets())
    with (
        session.stage("spool") as stage,
        connected(address, credentials, config) as peer,
    ):
        facts = retrieve(
            peer,
            spool,
            config,
            retry_dead=session.job.retry_dead,
            progress=stage.progress,
        ).facts()
        stage.run.log_numbers({k: float(v) for k, v in facts.items() if isinstance(v, int)})
    get_run_logger().info(
        "%s instances of %s series fetched", facts["num_instances"], facts["num_fetched_series"]
    )
    return facts


@contextmanager
def source_folder(session: Session) -> Iterator[Path]:
    """The folder that ingest reads: the job's own, or an archive's spool, held while it is read."""
    job, config = session.job, session.config
    if job.archive is None:
        if job.source is None:
            raise UsageProblem("ingest needs a source: a folder of scans or an archive's address")
        yield require_folder(job.source, "the source")
        return
    delays = exponential_backoff(config.pacs.reconnect_seconds)
    fetch = retrieve_series.with_options(
        retries=config.pacs.reconnects,
        retry_delay_seconds=delays(config.pacs.reconnects),
        retry_jitter_factor=0.5,
    )
    with open_spool(session.home.spool(config.name), session.keys) as spool:
        session.retrieved = fetch(session, spool)
        yield spool.ready


def retrieval_line(retrieved: Mapping[str, Any]) -> str:
    """What a retrieval did, for a person."""
    letters = retrieved["dead_letters"].items()
    dead = ", ".join(f"{count} {why} ({RETRIEVAL_REASONS[why]})" for why, count in letters)
    return (
        f"archive: {retrieved['num_series']} series listed,"
        f" {retrieved['num_fetched_series']} fetched ({retrieved['num_instances']} instances),"
        f" {retrieved['num_unsettled']} still arriving, {retrieved['num_deferred']} left to the"
        f" night, dead letters: {dead or 'none'}"
    )
