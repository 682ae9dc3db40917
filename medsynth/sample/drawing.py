"""Drawing scans in whole micro-batches, here or in workers, with the same bits either way.

On one kind of CPU the network's last bits follow the size of its batch, the number of threads and
the type of its numbers, and nothing else: neither the place in the batch nor what lies beside it.
So a killed run goes on with the micro-batches that it has not drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from medsynth.checkpoint import Generator, load_generator
from medsynth.core.digest import file_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Volume, read_volume
from medsynth.core.journal import open_journal, read_whole_lines
from medsynth.core.manifest import Scan, scan_of, store_scan, volume_path
from medsynth.core.schema import Attributes
from medsynth.core.stage import Progress
from medsynth.ingest.workers import Workers
from medsynth.models.guidance import Guidance
from medsynth.models.sampler import check_method
from medsynth.models.synthesizer import SamplerConfig
from medsynth.models.trained import check_request
from medsynth.sample.given import NOTHING, Given
from medsynth.sample.plan import Plan
from medsynth.sample.requests import Requests

JOURNAL = "drawn.txt"
"""In an unfinished stage: a line for every scan of the micro-batches that are done."""


@lru_cache(maxsize=1)
def generator_of(checkpoint: Path, digest: str) -> Generator:
    """The generator of a checkpoint folder, loaded once in each process."""
    return load_generator(checkpoint)


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """So many CPU threads for the network, until the block ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sampler_of(generator: Generator, plan: Plan) -> SamplerConfig:
    """The sampler's settings; raises UsageProblem for what this generator cannot do."""
    ours = generator.synthesizer
    low, high = plan.guidance_interval
    try:
        if plan.method is not None:
            check_method(plan.method, ours.objective)
        check_request(ours.schema, ours.trained, plan.negative)
        guidance = Guidance(
            plan.guidance, low, high, plan.guidance_by, plan.negative, plan.guidance_rescale
        )
        guidance.groups(ours.schema.names)
        how = SamplerConfig(plan.num_steps, plan.method, guidance)
        ours.method_of(how)
    except ValueError as error:
        raise UsageProblem(f"the plan: {error}") from None
    return how


def draw(
    generator: Generator, plan: Plan, requests: Sequence[Attributes], indices: Sequence[int]
) -> Float[np.ndarray, "n i j k"]:
    """One scan in [0, 1] per request; its noise is a function of the plan's seed and its index."""
    how = sampler_of(generator, plan)
    with fixed_threads(plan.threads):
        return generator.draw(requests, indices, seed=plan.seed, how=how)


def how_drawn(generator: Generator, plan: Plan) -> dict[str, Any]:
    """What the last bits of a scan follow, beside its plan."""
    return {
        "micro_batch": generator.batch,
        "threads": plan.threads,
        "dtype": str(next(generator.synthesizer.denoiser.parameters()).dtype),
        "device": generator.synthesizer.device.type,
        "torch": torch.__version__,
        "tiles": generator.tiles and [*generator.tiles],
    }


@dataclass(frozen=True)
class Drawn:
    """Digests of a scan and of its file, as they were when it was drawn."""

    scan: str
    file: str

    @classmethod
    def parse(cls, line: str) -> tuple[str, "Drawn"]:
        """A line of the journal, with the scan's id."""
        name, scan, file = line.split()
        return name, cls(scan, file)


@dataclass(frozen=True)
class Drawing:
    """Draws the scans at some indices of a plan into a folder, from the weights in another."""

    checkpoint: Path
    digest: str
    plan: Plan
    requests: Requests
    folder: Path
    free_bytes: int
    """What tiles are planned with, the same wherever a scan is drawn: its last bits follow them."""
    given: Given = NOTHING

    def __call__(self, indices: Sequence[int]) -> list[Scan]:
        """The rows of the scans, whose volumes are written."""
        planned = self._generator.planned_with(self.free_bytes)
        requests = [self._request(index) for index in indices]
        volumes = draw(self.given.lend(planned), self.plan, requests, indices)
        return [
            store_scan(self.folder, Volume(voxels[None], planned.geometry), **self._about(index))
            for index, voxels in zip(indices, volumes, strict=True)
        ]

    def stored(self, indices: Sequence[int], drawn: Mapping[str, Drawn]) -> list[Scan] | None:
        """The rows of scans that lie there already as they were drawn; `None` if any does not."""
        paths = {index: volume_path(self.folder, name_of(index)) for index in indices}
        known = {index: drawn.get(name_of(index)) for index in indices}
        rows = []
        for index, one in known.items():
            if one is None or not paths[index].is_file() or file_digest(paths[index]) != one.file:
                return None
            rows.append(scan_of(read_volume(paths[index]), digest=one.scan, **self._about(index)))
        return rows

    @property
    def _generator(self) -> Generator:
        return generator_of(self.checkpoint, self.digest)

    def _request(self, index: int) -> Attributes:
        return {**self.requests[index], **self.given[index]}

    def _about(self, index: int) -> dict[str, Any]:
        name = name_of(index)
        return {
            "scan_id": name,
            "subject_id": name,
            "modality": self._generator.modality,
            "attributes": self._request(index),
        }


def name_of(index: int) -> str:
    """Id of the scan at an index."""
    return f"syn-{index:06d}"


def draw_all(
    drawing: Drawing,
    indices: Sequence[int],
    batch: int,
    workers: Workers,
    progress: Progress,
) -> tuple[Scan, ...]:
    """The scans at these indices, in their order, each worker with whole micro-batches.

    Micro-batches that a killed run left whole in the folder are taken as they are.
    """
    chunks = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    done: dict[int, list[Scan]] = {}
    with open_journal(drawing.folder / JOURNAL) as journal:
        known = dict(Drawn.parse(line) for line in read_whole_lines(journal))
        for chunk in chunks:
            stored = drawing.stored(chunk, known)
            if stored is not None:
                done[chunk[0]] = stored
        left = [chunk for chunk in chunks if chunk[0] not in done]
        num_done = sum(map(len, done.values()))
        progress(num_done, len(indices))
        for chunk, drawn in zip(left, workers.map(drawing, left), strict=True):
            # A worker that died had a batch that any other process draws just as well.
            scans = done[chunk[0]] = drawing(chunk) if drawn is None else drawn
            journal.writelines(_line(drawing.folder, scan) for scan in scans)
            journal.flush()
            num_done += len(scans)
            progress(num_done, len(indices))
    (drawing.folder / JOURNAL).unlink()
    return tuple(scan for chunk in chunks for scan in done[chunk[0]])


def _line(folder: Path, scan: Scan) -> str:
    return f"{scan.scan_id} {scan.digest} {file_digest(folder / scan.path)}\n"
