"""Stage "views": scans made to be compared, which nobody has screened yet.

A sweep draws the same noise under several values of one attribute, all else as the plan asks at
that index: what differs in a column is what the attribute does. A trace shows how a scan comes
about. Sweeps and traces keep to the cells that k_min training subjects share, as cohorts do.

views/: volumes/, manifest.parquet (attr.NAME is the value asked for), views.json (which scans are
looked at together).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from medsynth.checkpoint import Generator, load_generator
from medsynth.core.geometry import Volume
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.schema import Attribute, Attributes, AttributeValue
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.core.views import STEPS, Group, Views
from medsynth.models.cells import Bin, Cell, CellTable, holds, value_at
from medsynth.sample.drawing import fixed_threads, sampler_of
from medsynth.sample.plan import Plan
from medsynth.sample.requests import Requests, resolve

_ASKS_NOTHING = {"count": 1, "where": "", "cells": (), "marginals": {}, "like": ""}
_MOST_TRIED = 30
"""Indices looked at for each column that is wanted."""


class ViewsConfig(BaseModel):
    """What is drawn to be looked at; 0 columns and 0 traces draw nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_values: int = Field(default=3, ge=2)
    """Values of a sweep: numbers from low to high, words by how frequent they are."""
    num_columns: int = Field(default=15, ge=0)
    """Noises under which every value of a sweep is drawn."""
    num_traces: int = Field(default=7, ge=0)
    """Scans whose way from noise is kept."""
    num_states: int = Field(default=6, ge=2)
    """Images of that way, the finished scan too."""


DEFAULTS = ViewsConfig()


def draw_views(
    checkpoint: Artifact,
    out: Path,
    plan: Plan,
    config: ViewsConfig = DEFAULTS,
    *,
    k_min: int = 11,
    progress: Progress = silent,
) -> Artifact:
    """Draw sweeps and traces as a plan draws its scans; which scans it asks for is left aside."""
    free = plan.model_copy(update=_ASKS_NOTHING)
    request = Request(
        stage="views",
        parents={"checkpoint": checkpoint.digest},
        config=free.model_dump(mode="json") | config.model_dump(mode="json") | {"k_min": k_min},
        code=code_digest("medsynth.sample"),
        seed=plan.seed,
    )

    def build(folder: Path) -> None:
        generator = load_generator(checkpoint.path)
        wanted = resolve(free, generator.schema, generator.cells, k_min)
        how = sampler_of(generator, free)
        album = _Album(folder, generator)
        for number, attribute in enumerate(generator.schema):
            columns = _columns(attribute, wanted, generator.cells, config, k_min)
            if columns:
                requests = [request for _, column in columns for request in column]
                indices = [index for index, column in columns for _ in column]
                volumes = generator.draw(requests, indices, seed=free.seed, how=how)
                album.add(attribute.name, volumes, [column for _, column in columns])
            progress(number + 1, len(generator.schema) + 1)
        if config.num_traces:
            indices = list(range(config.num_traces))
            requests = [wanted[index] for index in indices]
            states = generator.trace(
                requests, indices, seed=free.seed, how=how, num_states=config.num_states
            )
            rows = [[request] * config.num_states for request in requests]
            album.add(STEPS, states.reshape(-1, *states.shape[2:]), rows)
        album.close()

    with fixed_threads(plan.threads):
        return produce(out, request, build)


Column = tuple[int, list[Attributes]]
"""An index, whose noise all of these requests share."""


def _columns(
    attribute: Attribute, wanted: Requests, cells: CellTable, config: ViewsConfig, k_min: int
) -> list[Column]:
    """The first indices whose request may have every value of the sweep."""
    name = attribute.name
    block = next((block for block in cells.blocks if block and name in block[0].bins), ())
    crowded = [cell for cell in block if cell.count >= k_min]
    values = _values(attribute, crowded, cells, config.num_values)
    if len(values) < 2:
        return []

    def find() -> Iterator[Column]:
        for index in range(_MOST_TRIED * config.num_columns):
            requests: list[Attributes] = [{**wanted[index], name: value} for value in values]
            if all(any(_holds(cell, request) for cell in crowded) for request in requests):
                yield index, requests

    return list(islice(find(), config.num_columns))


def _values(
    attribute: Attribute, cells: Sequence[Cell], table: CellTable, most: int
) -> list[AttributeValue]:
    """Middles of bins, from the lowest to the highest; or the most frequent words."""
    counts: Counter[Bin] = Counter()
    for cell in cells:
        counts[cell.bins[attribute.name]] += cell.count
    if attribute.is_numeric:
        bins = sorted(where for where in counts if isinstance(where, tuple))
        chosen = np.unique(np.linspace(0, len(bins) - 1, most).round().astype(int)) if bins else ()
        step = table.steps[attribute.name]
        return [value_at(attribute, bins[place], step, 0.5) for place in chosen]
    words = [word for word, _ in counts.most_common() if isinstance(word, str)][:most]
    return sorted(words, key=attribute.values.index) if attribute.kind == "ordinal" else [*words]


def _holds(cell: Cell, request: Attributes) -> bool:
    return all(holds(where, request.get(name)) for name, where in cell.bins.items())


class _Album:
    """Scans and their sets, on the way to a stage folder."""

    def __init__(self, folder: Path, generator: Generator) -> None:
        self._folder, self._generator = folder, generator
        self._scans: list[Scan] = []
        self._sets: dict[str, tuple[Group, ...]] = {}

    def add(
        self,
        name: str,
        volumes: Float[np.ndarray, "n i j k"],
        groups: Sequence[Sequence[Attributes]],
    ) -> None:
        """Store a set, group after group."""
        left = iter(volumes)
        self._sets[name] = tuple(
            tuple(self._store(next(left), request) for request in group) for group in groups
        )

    def _store(self, voxels: Float[np.ndarray, "i j k"], request: Attributes) -> str:
        name = f"view-{len(self._scans):06d}"
        scan = store_scan(
            self._folder,
            Volume(voxels[None], self._generator.geometry),
            scan_id=name,
            subject_id=name,
            modality=self._generator.modality,
            attributes=request,
        )
        self._scans.append(scan)
        return name

    def close(self) -> None:
        """Write the manifest and the sets."""
        Manifest(tuple(self._scans), self._generator.schema).write(self._folder)
        Views(self._sets).write(self._folder)
