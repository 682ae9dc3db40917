"""Stage "cohort": the scans of a plan, each reproducible from its index alone.

cohort/: volumes/, masks/, manifest.parquet (one subject per scan, attr.NAME is the value asked),
plan.json (the plan, how it was drawn, what was asked beside what was drawn, and by scan the index
and the request). Chosen indices make a stage "excerpt" of the same form.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medsynth.checkpoint import Generator, load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest, Scan
from medsynth.core.masks import load_masks
from medsynth.core.protocols import Redraw
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.ingest.workers import Here, Workers
from medsynth.sample.asked import PLAN_FILE, asked_rows
from medsynth.sample.drawing import Drawing, draw, draw_all, generator_of, how_drawn, sampler_of
from medsynth.sample.given import NOTHING, Given
from medsynth.sample.like import read_likeness
from medsynth.sample.plan import Plan
from medsynth.sample.requests import Requests, resolve

HERE = Here()


def sample(
    checkpoint: Artifact,
    out: Path,
    plan: Plan,
    *,
    indices: Sequence[int] = (),
    k_min: int = 11,
    given: Given = NOTHING,
    workers: Workers = HERE,
    progress: Progress = silent,
) -> Artifact:
    """Draw a plan's cohort, or the scans at some of its indices, with what is given beside it.

    The stage is the same byte for byte with any workers; a killed run goes on.
    Raises UsageProblem where the plan asks for cells that fewer than k_min subjects share.
    """
    chosen = _chosen(indices, plan)
    generator = generator_of(checkpoint.path, checkpoint.digest)
    plan, share = _settled(plan, generator, k_min)
    requests = resolve(plan, generator.schema, generator.cells, k_min)
    given.check(generator)
    sampler_of(generator, plan)  # what cannot be drawn is refused before anything is
    drawn_with = how_drawn(generator, plan)
    config = {"k_min": k_min, "indices": [*indices] and [*chosen], "drawn_with": drawn_with}
    request = Request(
        "excerpt" if indices else "cohort",
        {"checkpoint": checkpoint.digest, **given.parents},
        plan.model_dump(mode="json") | config,
        code_digest("medsynth.sample"),
        plan.seed,
    )

    def build(folder: Path) -> None:
        given.store(folder, generator)
        free = generator.synthesizer.free_bytes
        drawing = Drawing(checkpoint.path, checkpoint.digest, plan, requests, folder, free, given)
        scans = draw_all(drawing, chosen, generator.batch, workers, progress)
        Manifest(scans, generator.schema).write(folder)
        asked = () if indices else _asked(requests, generator, scans)
        about = {"drawn_with": drawn_with, "share_of_table": share, "asked": asked}
        _write_plan(folder, plan, about, chosen, scans)

    try:
        return produce(out, request, build)
    finally:
        generator_of.cache_clear()


def _chosen(indices: Sequence[int], plan: Plan) -> Sequence[int]:
    """The indices to draw, each once and in order; all of the plan's where none are given."""
    if indices and not 0 <= min(indices) <= max(indices) < plan.count:
        raise UsageProblem(f"an index must lie in 0..{plan.count - 1}, the scans of this plan")
    return sorted(set(indices)) or range(plan.count)


def _settled(plan: Plan, generator: Generator, k_min: int) -> tuple[Plan, float | None]:
    """The plan with its table's cells in place of the table, and which share they stand for."""
    if not isinstance(plan.like, str) or not plan.like:
        return plan, None
    found = read_likeness(Path(plan.like), generator.schema, generator.cells, k_min)
    return plan.model_copy(update={"like": found.blocks}), found.share


def _asked(
    requests: Requests, generator: Generator, scans: Sequence[Scan]
) -> tuple[dict[str, Any], ...]:
    rows = asked_rows(requests, generator.cells, [scan.attributes for scan in scans])
    return tuple(row.to_json() for row in rows)


def _write_plan(
    folder: Path,
    plan: Plan,
    about: Mapping[str, Any],
    indices: Sequence[int],
    scans: Sequence[Scan],
) -> None:
    requests = [
        {"scan_id": scan.scan_id, "index": index, "attributes": dict(scan.attributes)}
        for index, scan in zip(indices, scans, strict=True)
    ]
    fields = {"plan": plan.model_dump(mode="json"), **about, "requests": requests}
    (folder / PLAN_FILE).write_text(json.dumps(fields, indent=1) + "\n")


def redraw_for(
    checkpoint_folder: Path, plan: Plan, k_min: int = 11, *, cohort: Path | None = None
) -> Redraw:
    """The judge's way to ask for fresh scans in place of rejected ones.

    Attempt a draws at indices count * a + position, which no other attempt touches. Masks that
    were asked for are those of the cohort's folder.
    """
    generator = load_generator(checkpoint_folder)
    if cohort is not None:
        rows = [scan.attributes for scan in Manifest.read(cohort)]
        generator = generator.with_masks(load_masks(cohort, generator.schema, rows))
    resolve(plan, generator.schema, generator.cells, k_min)

    def redraw(requests: Sequence[Attributes], attempt: int) -> Float[np.ndarray, "n i j k"]:
        if attempt < 1 or len(requests) > plan.count:
            raise ValueError(f"need attempt >= 1 and at most {plan.count} requests")
        start = plan.count * attempt
        return draw(generator, plan, requests, range(start, start + len(requests)))

    return redraw
