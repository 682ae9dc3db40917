"""Answers made from what a flow did: JSON for a script, a table for a person."""

from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.table import Table

from flows.account import account_line, account_tables, volumes_line
from flows.answer import DONE, REFUSED, Answer
from flows.comparison_table import comparison_table
from flows.compression_table import compression_table, reason_lines
from flows.facts import Outcome, cohort_facts, prepared_facts, read_deidentified
from flows.home import tracking_place
from flows.pacs import retrieval_line
from flows.verdict_table import gate_table, ledger_line, reason_group, verdict_color
from medsynth.core.errors import MedsynthError
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.obedience import disobedience_words
from medsynth.ingest.page.page import FILE_NAME as PAGE

_HEADLINES = ("coverage", "precision", "mmd_reader", "similarity_ratio")


def stage_answer(outcome: Outcome, **fields: Any) -> Answer:
    """What every stage answers."""
    reused = (f"found, not run: {', '.join(outcome.reused)}",) if outcome.reused else ()
    lines = (*reused, f"{outcome.out}") if outcome.out else reused
    return Answer(outcome.out, outcome.reused, fields, lines=lines)


def ingest_answer(outcome: Outcome) -> Answer:
    """What became of every file, and where the page lies that shows the scans."""
    folder, account = outcome.path("manifest"), outcome.account
    if folder is None or account is None:
        return stage_answer(outcome)
    page = folder / PAGE
    answer = stage_answer(
        outcome,
        num_volumes=account.num_volumes,
        num_subjects=account.num_subjects,
        quarantined=dict(outcome.quarantined or {}),
        num_files=account.num_files,
        left_out={line.code: line.count for line in account.left_out},
        flags={line.code: line.count for line in account.flags},
        page=str(page),
        retrieved=outcome.retrieved,
    )
    archive = (retrieval_line(outcome.retrieved),) if outcome.retrieved else ()
    lines = (*archive, account_line(account), volumes_line(account), *answer.lines, f"page  {page}")
    return replace(answer, lines=lines, table=account_tables(account))


def deidentify_answer(outcome: Outcome) -> Answer:
    """Counts of a de-identification."""
    summary = read_deidentified(outcome.out) if outcome.out else {}
    refused = ", ".join(f"{count} {why}" for why, count in summary["quarantined"].items())
    line = f"{summary['num_written']} of {summary['num_files']} files written"
    answer = stage_answer(outcome, **summary)
    lines = (line, f"refused: {refused or 'none'}", *answer.lines)
    return replace(answer, lines=lines)


def audit_answer(outcome: Outcome) -> Answer:
    """The audit object; exit 3 unless it is a PASS."""
    audit = outcome.audit or {}
    answer = stage_answer(outcome, **audit)
    return replace(
        answer,
        exit_code=_exit_code(outcome),
        lines=(_kept_line(outcome, audit), ledger_line(audit), *answer.lines),
        table=Group(gate_table(audit), reason_group(audit["gates"])),
    )


def _kept_line(outcome: Outcome, audit: dict[str, Any]) -> str:
    accepted = {artifact.path.name: artifact for artifact in outcome.stages}["accepted"]
    kept = cohort_facts(accepted)["num_scans"]
    return (
        f"screen   {kept:,} of {audit['num_synthetic']:,} scans accepted; "
        f"about {audit['num_rejected']:,} were rejected at first"
    )


def compare_answer(outcome: Outcome) -> Answer:
    """One table of all models."""
    comparison = outcome.comparison or {}
    models = {
        model: {name: Metric(**row) for name, row in rows.items()}
        for model, rows in comparison.items()
    }
    answer = stage_answer(outcome, comparison=comparison)
    return replace(answer, table=comparison_table(models))


def compress_answer(outcome: Outcome) -> Answer:
    """Source beside candidates; exit 3 where none is accepted."""
    found = outcome.compression or {"candidates": {}, "accepted": None}
    accepted, lines = found["accepted"], reason_lines(found)
    reason = None if accepted else "; ".join(lines)
    answer = stage_answer(outcome, compression=found, accepted=accepted, reason=reason)
    return replace(
        answer,
        exit_code=DONE if accepted else REFUSED,
        lines=(*lines, *answer.lines),
        table=compression_table(found),
    )


def pipeline_answer(
    outcome: Outcome, peak_rss_bytes: int, stopped: MedsynthError | None = None
) -> Answer:
    """What `run` and `demo` answer; exit 3 unless the verdict is a PASS."""
    release = outcome.path("release")
    quarantined = outcome.quarantined
    fields = {
        "peak_rss_bytes": peak_rss_bytes,
        "num_scans": outcome.num_scans,
        "num_quarantined": None if quarantined is None else sum(quarantined.values()),
        "verdict": outcome.verdict,
        "evaluation": outcome.evaluation,
        "release": str(release) if release else None,
        "report": str(outcome.report) if outcome.report else None,
    }
    if stopped is not None:
        fields["error"] = {"code": stopped.code, "message": str(stopped)}
        lines = (f"medsynth: {stopped}", f"report   {outcome.report}")
        return Answer(outcome.out, outcome.reused, fields, stopped.exit_code, lines)
    return Answer(
        outcome.out,
        outcome.reused,
        fields,
        _exit_code(outcome),
        _closing_lines(outcome),
        Group(_table(outcome, fields), reason_group((outcome.audit or {"gates": []})["gates"])),
    )


def _exit_code(outcome: Outcome) -> int:
    return DONE if outcome.verdict == "PASS" else REFUSED


def _table(outcome: Outcome, fields: dict[str, Any]) -> Table:
    table = Table(title="What this run did")
    for name in ("", "value", "real versus real", "95 % interval"):
        table.add_column(name, justify="left" if not name else "right")
    for name, value in _counts(outcome, fields):
        table.add_row(name, value)
    table.add_section()
    color = verdict_color(outcome.verdict)
    table.add_row("verdict", f"[{color}]{outcome.verdict}[/]")
    table.add_section()
    for name, row in _headlines(outcome.evaluation or {}):
        bounds = f"{_short(row['low'])} to {_short(row['high'])}"
        table.add_row(name, _short(row["value"]), _short(row["floor"]), bounds)
    return table


def _counts(outcome: Outcome, fields: dict[str, Any]) -> list[tuple[str, str]]:
    stages = {artifact.path.name: artifact for artifact in outcome.stages}
    counts = [("scans in", fields["num_scans"]), ("quarantined", fields["num_quarantined"])]
    if "prepared" in stages:
        counts.append(("trained on", prepared_facts(stages["prepared"])["num_train"]))
    if "cohort" in stages:
        counts.append(("sampled", cohort_facts(stages["cohort"])["num_scans"]))
    if outcome.audit:
        counts.append(("screened out, about", outcome.audit["num_rejected"]))
    if "accepted" in stages:
        counts.append(("accepted", cohort_facts(stages["accepted"])["num_scans"]))
    return [(name, "-" if count is None else str(count)) for name, count in counts]


def _headlines(metrics: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Every attribute's reading, and a few numbers of the whole."""
    known = {name: row for name, row in metrics.items() if row["value"] is not None}
    readings = [(name, row) for name, row in known.items() if name not in _HEADLINES]
    whole = [(name, known[name]) for name in _HEADLINES if name in known]
    return [*readings, *whole]


def _closing_lines(outcome: Outcome) -> tuple[str, ...]:
    release = outcome.path("release")
    reused = [f"found, not run: {', '.join(outcome.reused)}"] if outcome.reused else []
    return (
        *reused,
        *_disobedience_lines(outcome),
        f"report   {outcome.report}",
        f"release  {release or 'none: the policy does not allow this cohort to leave'}",
        f"MLflow   {tracking_place(outcome.tracking_uri)}",
    )


def evaluation_answer(outcome: Outcome) -> Answer:
    """What a measurement answers: which attributes the scans do not follow stands on top."""
    answer = stage_answer(outcome)
    return replace(answer, lines=(*_disobedience_lines(outcome), *answer.lines))


def _disobedience_lines(outcome: Outcome) -> tuple[str, ...]:
    metrics = {name: Metric(**row) for name, row in (outcome.evaluation or {}).items()}
    return tuple(f"asked    {words}" for words in disobedience_words(metrics))


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
