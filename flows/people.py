"""Flow of people: the judge looks for people with two ids, a reviewer decides, prepare obeys."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, task
from rich.table import Table

from flows.answer import Answer
from flows.config import read_config
from flows.facts import Outcome
from flows.job import Job
from flows.people_stage import PAGE, PAIRS, STAGE, SUMMARY, search_people
from flows.session import TASK, Session, open_session
from flows.summary import stage_answer
from medsynth.core.manifest import Manifest
from medsynth.core.stage import Artifact, open_stage
from medsynth.prepare.people import read_review, record_review
from medsynth.prepare.prepare import ADEQUACY

_ROWS = {
    "num_scans": "scans compared",
    "num_subjects": "subject ids",
    "num_pairs": "pairs to review",
    "num_by_chance": "of these by chance, at most about",
    "num_hubs": "hubs",
    "num_damaged": "perhaps damaged",
}


@task(name="people", **TASK)
def find_people_twice(session: Session, manifest: Artifact) -> Artifact:
    """Stage people/: what a person must look at before folds are made."""
    with session.stage(STAGE) as stage:
        artifact = search_people(
            manifest, session.out, session.config.prepare, progress=stage.progress
        )
        return stage.finish(artifact, _counts(artifact.path))


@flow(name="medsynth-people", persist_result=False)
def people_flow(job: Job, manifest: Path) -> Outcome:
    """List pairs of subjects who may be one person, blind to folds."""
    with open_session(job, needs_keys=False) as session:
        find_people_twice(session, open_stage(manifest))
        return session.outcome()


def people_answer(outcome: Outcome) -> Answer:
    """Counts, and where the page and the sheet lie that the reviewer needs."""
    folder = outcome.path(STAGE)
    if folder is None:
        return stage_answer(outcome)
    counts, page, pairs = _counts(folder), folder / PAGE, folder / PAIRS
    table = Table(title="Before folds", title_justify="left", show_header=False)
    for name, words in _ROWS.items():
        table.add_row(words, f"{counts[name]:,}")
    answer = stage_answer(outcome, **counts, page=str(page), pairs=str(pairs))
    lines = (f"look at   {page}", f"fill in   a copy of {pairs}", *answer.lines)
    return replace(answer, table=table, lines=lines)


def apply_review(job: Job, manifest: Path, review: Path) -> None:
    """Write a review into the fold ledger, which every later `prepare` reads."""
    name = read_config(job.config).name
    ledger = job.open_home().ledger(name)
    record_review(ledger, name, read_review(review), Manifest.read(manifest).subjects)


def prepare_answer(outcome: Outcome) -> Answer:
    """What every stage answers, and whether anybody looked for the same person twice."""
    answer, folder = stage_answer(outcome), outcome.path("prepared")
    if folder is None:
        return answer
    people = json.loads((folder / ADEQUACY).read_text())["people"]
    fields = {"people": people}
    return replace(answer, fields=fields, lines=(_people_line(people), *answer.lines))


def _people_line(people: dict[str, Any]) -> str:
    if people["is_reviewed"]:
        return f"reviewed for the same person twice: {people['num_merged']} ids merged"
    return "nobody looked for the same person twice before folds: see `medsynth people`"


def _counts(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = json.loads((folder / SUMMARY).read_text())
    return counts
