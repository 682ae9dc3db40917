"""Every way into our own generator that the judge can be given, as far as a policy asks for it."""

import json
from pathlib import Path
from typing import Any

from flows.twin import twin_trainer
from flows.white_box import WhiteBox, draw_for
from medsynth.checkpoint import Generator, load_generator
from medsynth.core.protocols import Redraw
from medsynth.core.schema import AttributeSchema
from medsynth.core.stage import Artifact
from medsynth.models.cells import Cell
from medsynth.sample.asked import PLAN_FILE
from medsynth.sample.cohort import redraw_for
from medsynth.sample.plan import Plan
from medsynth.train.dp_statement import read_statement
from privacy.access import Access
from privacy.attacks.attributes.cells import Grid
from privacy.audit import UNKNOWN
from privacy.case import Span
from privacy.gates.differential_privacy import PrivacyClaim
from privacy.planted.model_made import redream_by
from privacy.policy import Policy


def ways_into(
    checkpoint: Artifact, cohort: Artifact, prepared: Artifact | None, policy: Policy, out: Path
) -> Access:
    """A checkpoint as the judge may ask it about a cohort.

    Redraws take the place of scans only where this very checkpoint drew them; its training is run
    once more only where the policy wants canaries and `prepared` is what it was trained on.
    """
    generator = load_generator(checkpoint.path)
    white_box = WhiteBox(generator)
    statement = read_statement(checkpoint.path)
    scans = None if policy.canary is None else prepared
    return Access(
        round_trip=generator.round_trip,
        redraw=_redraw(checkpoint, cohort, policy.k_min),
        draw=draw_for(generator),
        denoiser=white_box,
        train_twin=None if scans is None else twin_trainer(checkpoint, scans, out),
        claim=None if statement is None else PrivacyClaim.from_statement(statement),
        grids=grids_of(generator),
        redream=redream_by(white_box, white_box.decode),
    )


def is_drawn_by(cohort: Artifact, checkpoint: Artifact) -> bool:
    """Whether a cohort's own receipt names this checkpoint."""
    return bool(cohort.receipt["parents"].get("checkpoint") == checkpoint.digest)


def span_of(cohort: Artifact, checkpoint: Artifact) -> Span:
    """Which of a checkpoint's scans a cohort holds, for the ledger; unknown of another maker's.

    Its seed stands for all that decides what an index means, not for the plan's own seed alone.
    """
    if not is_drawn_by(cohort, checkpoint):
        return UNKNOWN
    indices = [request["index"] for request in _read_plan_file(cohort)["requests"]]
    return Span(read_plan_of(cohort).series, min(indices), max(indices) + 1)


def read_plan_of(cohort: Artifact) -> Plan:
    """The plan of a cohort of ours."""
    return Plan.model_validate(_read_plan_file(cohort)["plan"])


def _read_plan_file(cohort: Artifact) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((cohort.path / PLAN_FILE).read_text())
    return told


def _redraw(checkpoint: Artifact, cohort: Artifact, k_min: int) -> Redraw | None:
    if not is_drawn_by(cohort, checkpoint):
        return None
    return redraw_for(checkpoint.path, read_plan_of(cohort), k_min, cohort=cohort.path)


def grids_of(generator: Generator) -> tuple[Grid, ...]:
    """The cells that requests are drawn from, one grid for each block of attributes."""
    cells, schema = generator.cells, generator.schema
    return tuple(_grid(block, schema) for block in cells.blocks)


def _grid(block: tuple[Cell, ...], schema: AttributeSchema) -> Grid:
    names = tuple(block[0].bins)
    numeric = (name for name in names if schema[name].is_numeric)
    return Grid(names, {name: _inner_edges(block, name) for name in numeric})


def _inner_edges(block: tuple[Cell, ...], name: str) -> tuple[float, ...]:
    bins = (cell.bins[name] for cell in block)
    edges = {edge for where in bins if isinstance(where, tuple) for edge in where}
    return tuple(sorted(edges)[1:-1])
