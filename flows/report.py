"""OUT/report/report.html, which every run writes, however far it came."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from prefect import task

from flows.facts import Outcome
from flows.session import TASK, Session
from flows.tracking import flatten
from medsynth.core.certificate import Certificate
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.schema import AttributeSchema
from medsynth.evaluate.achieved import read_achieved
from medsynth.evaluate.effects import read_effects
from medsynth.evaluate.metrics import read_metrics
from medsynth.release.report import Counts, Report, Sample, write_report
from medsynth.release.shown import Shown
from medsynth.train.latents import TRAINING_FILE
from privacy.audit import CERTIFICATE_FILE

_NUM_SAMPLES = 24
_NETWORKS = {"latents": "autoencoder", "checkpoint": "denoiser"}


@task(name="report", **TASK)
def report_run(session: Session, problem: str | None = None) -> Path:
    """Write the report of what this run has so far; `problem` is why it ended early."""
    path = session.out / "report" / "report.html"
    with session.stage("report") as stage:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_report(path, _report(session, session.outcome(), [problem] if problem else []))
        stage.run.log_file(path)
    return path


def _report(session: Session, outcome: Outcome, problems: list[str]) -> Report:
    evidence, evaluation = outcome.path("evidence"), outcome.path("evaluation")
    body: Any = Certificate.read(evidence / CERTIFICATE_FILE).body if evidence else {}
    accepted = _read(outcome, "accepted")
    measured = Manifest.read(evaluation) if evaluation else None
    config = {name: str(value) for name, value in flatten(session.config.resolved())}
    return Report(
        title=f"Synthetic scans of {session.config.name}",
        # The certificate's day and not today's: the same run writes the same page again.
        created=str(body.get("issued", "")),
        schema=accepted.schema if accepted else AttributeSchema(),
        counts=_counts(outcome),
        audit=outcome.audit,
        metrics=read_metrics(evaluation) if evaluation else {},
        achieved=read_achieved(evaluation) if evaluation else (),
        asked=[scan.attributes for scan in accepted] if accepted else (),
        read=[scan.measured for scan in measured] if measured else (),
        samples=_samples(outcome.path("accepted"), accepted),
        shown=_shown(outcome),
        effects=read_effects(evaluation) if evaluation else (),
        histories=_histories(outcome),
        warnings=session.warnings,
        digests={artifact.path.name: artifact.digest for artifact in outcome.stages},
        config=config,
        does_not_show=body.get("does_not_show", ()),
        problems=problems,
    )


def _counts(outcome: Outcome) -> Counts:
    prepared, cohort = _read(outcome, "prepared"), _read(outcome, "cohort")
    accepted, audit = _read(outcome, "accepted"), outcome.audit
    subjects: dict[str, set[str]] = defaultdict(set)
    for scan in prepared or ():
        subjects[scan.fold or "none"].add(scan.subject_id)
    num_accepted = len(accepted) if accepted is not None else None
    return Counts(
        num_scans=outcome.num_scans,
        quarantined=outcome.quarantined or {},
        subjects={fold: len(ids) for fold, ids in subjects.items()},
        num_trained=len(prepared.fold("train")) if prepared else None,
        num_sampled=len(cohort) if cohort else None,
        num_screened_out=audit["num_rejected"] if audit else None,
        num_accepted=num_accepted,
        num_released=num_accepted if outcome.verdict == "PASS" else None,
    )


def _samples(folder: Path | None, accepted: Manifest | None) -> list[Sample]:
    if folder is None or not accepted:
        return []
    scans = accepted.scans[:_NUM_SAMPLES]
    volumes = load_arrays(folder, scans)
    return [Sample(v, scan.attributes) for v, scan in zip(volumes, scans, strict=True)]


def _shown(outcome: Outcome) -> Shown:
    folder = outcome.path("shown")
    return Shown.read(folder) if folder else Shown()


def _histories(outcome: Outcome) -> dict[str, list[dict[str, float]]]:
    """What each network's training told, where there was one."""
    files = {words: outcome.path(stage) for stage, words in _NETWORKS.items()}
    found = {words: f / TRAINING_FILE for words, f in files.items() if f}
    return {
        words: json.loads(path.read_text())["history"]
        for words, path in found.items()
        if path.exists()
    }


def _read(outcome: Outcome, stage: str) -> Manifest | None:
    folder = outcome.path(stage)
    return Manifest.read(folder) if folder else None
