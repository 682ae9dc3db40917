"""Flow of release: what the certificate lets leave, packed and signed."""

from pathlib import Path

from prefect import flow, task

from flows.facts import Outcome
from flows.job import Job
from flows.session import TASK, Session, open_session
from medsynth.core.stage import Artifact, open_stage
from medsynth.release.release import release


@task(name="release", **TASK)
def release_cohort(
    session: Session,
    accepted: Artifact,
    certificate: Path,
    *,
    evaluation: Artifact | None,
    report: Path | None,
) -> Artifact:
    """Stage release/; raises ReleaseRefused without a valid PASS for this very cohort."""
    with session.stage("release") as stage:
        artifact = release(
            accepted,
            certificate,
            session.out,
            session.keys,
            session.config.release,
            evaluation=evaluation,
            report=report,
        )
        num_files = len(artifact.receipt["files"])
        return stage.finish(artifact, {"num_files": num_files})


@flow(name="medsynth-release", persist_result=False)
def release_flow(
    job: Job,
    accepted: Path,
    certificate: Path,
    evaluation: Path | None = None,
    report: Path | None = None,
) -> Outcome:
    """Pack an accepted cohort with its certificate."""
    with open_session(job) as session:
        measured = open_stage(evaluation) if evaluation else None
        release_cohort(
            session, open_stage(accepted), certificate, evaluation=measured, report=report
        )
        return session.outcome(report)
