"""Flows of ingest and prepare: from an archive to volumes on one grid, in folds."""

from pathlib import Path

from prefect import flow, task

from flows.facts import Outcome, deidentified_facts, manifest_facts, prepared_facts
from flows.home import require_folder
from flows.job import Job
from flows.pacs import source_folder
from flows.session import TASK, Session, open_session
from flows.workers import open_workers
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact, open_stage
from medsynth.ingest.archive import ingest
from medsynth.ingest.deidentification.stage import deidentify
from medsynth.prepare.prepare import prepare


@task(name="ingest", **TASK)
def ingest_scans(session: Session) -> Artifact:
    """Stage manifest/: de-identified volumes."""
    job = session.job
    if job.attributes is not None and not job.attributes.is_file():
        raise UsageProblem("the table of attributes must be an existing file")
    with (
        source_folder(session) as source,
        session.stage("manifest") as stage,
        open_workers(session.config.workers) as workers,
    ):
        artifact = ingest(
            source,
            session.out,
            session.keys,
            session.config.ingest,
            table=job.attributes,
            workers=workers,
            progress=stage.progress,
        )
        return stage.finish(artifact, manifest_facts(artifact))


@task(name="deidentify", **TASK)
def deidentify_files(session: Session) -> Artifact:
    """Stage deidentified/: DICOM without identifiers."""
    source = require_folder(session.job.source or Path(), "the source")
    with session.stage("deidentified") as stage:
        artifact = deidentify(
            source,
            session.out,
            session.keys,
            session.config.deidentify,
            progress=stage.progress,
        )
        return stage.finish(artifact, deidentified_facts(artifact))


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


@flow(name="medsynth-deidentify", persist_result=False)
def deidentify_flow(job: Job) -> Outcome:
    """Rewrite an archive's DICOM without identifiers."""
    with open_session(job) as session:
        deidentify_files(session)
        return session.outcome()


@flow(name="medsynth-prepare", persist_result=False)
def prepare_flow(job: Job, manifest: Path) -> Outcome:
    """Bring a manifest's volumes onto the model's grid."""
    with open_session(job) as session:
        prepare_scans(session, open_stage(manifest))
        return session.outcome()
