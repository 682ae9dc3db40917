"""Flow of audit: the judge gets a cohort, real folds and the ways into the generator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.facts import Outcome, audit_facts, cohort_facts, read_audit
from flows.generate import picture
from flows.job import Job
from flows.plain import Reader, shape_of
from flows.registry import find_version, promote
from flows.session import TASK, Session, Stage, open_session
from flows.views import picture_views
from flows.ways import span_of, ways_into
from medsynth.core.certificate import Certificate
from medsynth.core.digest import json_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact, open_stage
from privacy.access import Access
from privacy.audit import AUDIT_FILE, CERTIFICATE_FILE, UNKNOWN, audit
from privacy.folds import RealFolds
from privacy.policy import read_policy

_FOLDS = ("train", "control", "calibration")


@dataclass(frozen=True)
class Folds:
    """The real scans: one prepared folder, or one folder a fold."""

    prepared: Artifact | None = None
    separate: Mapping[str, Artifact] | None = None

    @property
    def digest(self) -> str:
        """Digest of the folders, by fold."""
        if self.prepared is not None:
            return self.prepared.digest
        return json_digest({name: a.digest for name, a in (self.separate or {}).items()})

    def load(self) -> RealFolds:
        """The voxels."""
        if self.prepared is not None:
            return RealFolds.from_prepared(self.prepared)
        return RealFolds.from_folders(**(self.separate or {}))


@task(name="audit", **TASK)
def audit_cohort(
    session: Session,
    cohort: Artifact,
    folds: Folds,
    checkpoint: Artifact | None,
    earlier: Sequence[Path] = (),
    views: Artifact | None = None,
) -> tuple[Artifact, Artifact]:
    """Stages accepted/ and evidence/: what passed the screen, and the signed verdict.

    `earlier` are accepted cohorts of the same generator that no longer lie where they were made.
    Of `views` those that pass the screen are stage shown/.
    """
    policy = read_policy(session.config.policy)
    access, span = Access(), UNKNOWN
    if checkpoint is not None:
        access = ways_into(checkpoint, cohort, folds.prepared, policy, session.out)
        span = span_of(cohort, checkpoint)
    with session.stage("accepted", shown=False) as first, session.stage("evidence") as second:
        audited = audit(
            cohort,
            folds.load(),
            session.out,
            session.keys,
            policy,
            access=access,
            model_digest=checkpoint.digest if checkpoint else None,
            folds_digest=folds.digest,
            ledger=session.home.judge_ledger(session.config.name),
            span=span,
            earlier=earlier,
            seed=session.config.seed,
            vault=session.home.vault,
            views=views,
            progress=second.progress,
        )
        first.finish(audited.accepted, cohort_facts(audited.accepted))
        picture(first, audited.accepted)
        second.finish(audited.evidence, audit_facts(audited.evidence))
        _publish(second, audited.evidence)
    if audited.shown is not None:
        picture_views(session, audited.shown)
    return audited.accepted, audited.evidence


def _publish(stage: Stage, evidence: Artifact) -> None:
    """The verdict in Prefect; certificate and audit in MLflow."""
    found = read_audit(evidence.path)
    lines = [
        f"# {found['verdict']} under the policy {found['policy']}",
        "| gate | kind | estimate | bounds | n | limit | result | reason |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["gates"]:
        bounds = f"{_short(row['low'])} to {_short(row['high'])}"
        cells = [row["gate"], row["kind"], _short(row["estimate"]), bounds, row["n"]]
        cells += [f"{row['side']} {_short(row['limit'])}", row["result"], row["reason"]]
        lines.append(f"| {' | '.join(str(cell or '') for cell in cells)} |")
    table = "\n".join([lines[0], "", *lines[1:]])
    create_markdown_artifact(table, key="medsynth-verdict", description="The judge's verdict")
    stage.run.log_tags({"medsynth.verdict": found["verdict"], "medsynth.policy": found["policy"]})
    for name in (CERTIFICATE_FILE, AUDIT_FILE):
        stage.run.log_file(evidence.path / name)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@task(name="promote", **TASK)
def promote_audited(session: Session, evidence: Artifact) -> None:
    """Give the alias `audited` to the registered generator of a PASS, where there is one."""
    certificate = Certificate.read(evidence.path / CERTIFICATE_FILE)
    model, client = certificate.body["digests"].get("model"), session.run.client
    if model and find_version(client, session.config.name, model):
        promote(client, session.config.name, certificate, session.keys)


@flow(name="medsynth-audit", persist_result=False)
def audit_flow(
    job: Job, cohort: Path, roots: dict[str, Path], earlier: tuple[Path, ...] = ()
) -> Outcome:
    """Audit any cohort against real scans: stage folders, or plain folders with metadata.csv."""
    with open_session(job) as session:
        with session.stage("inputs") as stage:
            reader = Reader(session.out, session.keys, session.config, stage.progress)
            synthetic = reader.read(cohort, "cohort")
            folds = _read_folds(reader, roots, synthetic)
        checkpoint = open_stage(roots["checkpoint"]) if "checkpoint" in roots else None
        _, evidence = audit_cohort(session, synthetic, folds, checkpoint, earlier)
        if session.outcome().verdict == "PASS":
            promote_audited(session, evidence)
        return session.outcome()


def _read_folds(reader: Reader, roots: Mapping[str, Path], cohort: Artifact) -> Folds:
    if "prepared" in roots:
        return Folds(prepared=open_stage(roots["prepared"]))
    missing = [name for name in _FOLDS if name not in roots]
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise UsageProblem(f"audit needs --prepared, or a folder for each fold; missing {options}")
    names = [name for name in (*_FOLDS, "test") if name in roots]
    shape = shape_of(cohort)
    return Folds(separate={name: reader.read(roots[name], name, shape) for name in names})
