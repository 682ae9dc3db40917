"""Drawing scans in whole micro-batches, here or in workers, with the same bits either way.

On one kind of CPU the network's last bits follow the size of its batch, the number of threads and
the type of its numbers, and nothing else: neither the place in the batch nor what lies beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from medsynth.checkpoint import Generator, load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Volume
from medsynth.core.manifest import Scan, store_scan
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
    }


@dataclass(frozen=True)
class Drawing:
    """Draws the scans at some indices of a plan into a folder, from the weights in another."""

    checkpoint: Path
    digest: str
    plan: Plan
    requests: Requests
    folder: Path
    given: Given = NOTHING

    def __call__(self, indices: Sequence[int]) -> list[Scan]:
        """The rows of the scans, whose volumes are written."""
        generator = self.given.lend(generator_of(self.checkpoint, self.digest))
        requests = [{**self.requests[index], **self.given[index]} for index in indices]
        volumes = draw(generator, self.plan, requests, indices)
        return [
            self._store(generator, *scan) for scan in zip(indices, requests, volumes, strict=True)
        ]

    def _store(
        self,
        generator: Generator,
        index: int,
        request: Attributes,
        voxels: Float[np.ndarray, "i j k"],
    ) -> Scan:
        name = f"syn-{index:06d}"
        return store_scan(
            self.folder,
            Volume(voxels[None], generator.geometry),
            scan_id=name,
            subject_id=name,
            modality=generator.modality,
            attributes=request,
        )


def draw_all(
    drawing: Callable[[Sequence[int]], list[Scan]],
    indices: Sequence[int],
    batch: int,
    workers: Workers,
    progress: Progress,
) -> tuple[Scan, ...]:
    """The scans at these indices, in their order, each worker with whole micro-batches."""
    chunks = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    scans: list[Scan] = []
    for chunk, drawn in zip(chunks, workers.map(drawing, chunks), strict=True):
        # A worker that died had a batch that any other process draws just as well.
        scans += drawing(chunk) if drawn is None else drawn
        progress(len(scans), len(indices))
    return tuple(scans)
