"""The whole way as one flow: from an archive to a release, or the reason why there is none."""

from pathlib import Path

from prefect import flow

from flows.audit import Folds, audit_cohort, promote_audited
from flows.facts import Outcome
from flows.generate import draw_to_compare, evaluate_cohort, sample_cohort
from flows.ingest import ingest_scans, prepare_scans
from flows.job import Job
from flows.release import release_cohort
from flows.report import report_run
from flows.session import Session, open_session
from flows.train import train_generator
from medsynth.core.errors import MedsynthError
from medsynth.core.manifest import Manifest
from privacy.audit import CERTIFICATE_FILE


class RunStopped(MedsynthError):
    """A run that ended early, with the reason and what it had done by then."""

    def __init__(self, reason: MedsynthError, outcome: Outcome) -> None:
        super().__init__(str(reason))
        self.code, self.exit_code, self.outcome = reason.code, reason.exit_code, outcome


@flow(name="medsynth-pipeline", persist_result=False)
def pipeline(job: Job) -> Outcome:
    """Every stage in order; what is already there is found and not run.

    The report is written however far the run came.
    """
    with open_session(job) as session:
        try:
            _make(session)
        except MedsynthError as error:
            report = report_run(session, str(error))
            raise RunStopped(error, session.outcome(report)) from None
        report = report_run(session)
        if session.outcome().verdict == "PASS":
            _let_go(session, report)
        return session.outcome(report)


def _make(session: Session) -> None:
    """From scans to a judged and measured cohort."""
    prepared = prepare_scans(session, ingest_scans(session))
    checkpoint = train_generator(session, prepared)
    cohort = sample_cohort(session, checkpoint, session.config.sample)
    views = draw_to_compare(session, checkpoint)
    folds = Folds(prepared=prepared)
    accepted, _ = audit_cohort(session, cohort, folds, checkpoint, views=views)
    if len(Manifest.read(accepted.path)):
        shown = next((stage for stage in session.stages if stage.path.name == "shown"), None)
        evaluate_cohort(session, accepted, prepared, cohort, checkpoint, shown)


def _let_go(session: Session, report: Path) -> None:
    """What a PASS allows: the alias `audited`, and the release."""
    stages = {artifact.path.name: artifact for artifact in session.stages}
    promote_audited(session, stages["evidence"])
    release_cohort(
        session,
        stages["accepted"],
        stages["evidence"].path / CERTIFICATE_FILE,
        evaluation=stages.get("evaluation"),
        report=report,
    )
