"""Flows of ingest and prepare: from an archive to volumes on one grid, in folds."""

from pathlib import Path

from prefect import flow, task

from flows.facts import Outcome, manifest_facts, prepared_facts
from flows.home import require_folder
from flows.job import Job
from flows.session import TASK, Session, open_session
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact, open_stage
from medsynth.ingest.archive import ingest
from medsynth.prepare.prepare import prepare


@task(name="ingest", **TASK)
def ingest_scans(session: Session) -> Artifact:
    """Stage manifest/: de-identified volumes."""
    job = session.job
    if job.source is None:
        raise UsageProblem("ingest needs a source: a folder of scans")
    source = require_folder(job.source, "the source")
    if job.attributes is not None and not job.attributes.is_file():
        raise UsageProblem("the table of attributes must be an existing file")
    with session.stage("manifest") as stage:
        artifact = ingest(
            source,
            session.out,
            session.keys,
            session.config.ingest,
            table=job.attributes,
            progress=stage.progress,
        )
        return stage.finish(artifact, manifest_facts(artifact))


@task(name="prepare", **TASK)
def prepare_scans(session: Session, manifest: Artifact) -> Artifact:
    """Stage prepared/: volumes on the model's grid, in folds by subject."""
    config = session.config
    with session.stage("prepared") as stage:
        artifact = prepare(
            manifest,
            session.out,
            session.keys,
            session.home.ledger(config.name),
            config.prepare,
            name=config.name,
            progress=stage.progress,
        )
        return stage.finish(artifact, prepared_facts(artifact))


@flow(name="medsynth-ingest", persist_result=False)
def ingest_flow(job: Job) -> Outcome:
    """Read an archive; the nightly deployment."""
    with open_session(job) as session:
        ingest_scans(session)
        return session.outcome()


@flow(name="medsynth-prepare", persist_result=False)
def prepare_flow(job: Job, manifest: Path) -> Outcome:
    """Bring a manifest's volumes onto the model's grid."""
    with open_session(job) as session:
        prepare_scans(session, open_stage(manifest))
        return session.outcome()
