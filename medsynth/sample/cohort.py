"""Stage "cohort": the scans of a plan, each reproducible from its index alone.

cohort/: volumes/, manifest.parquet (one subject per scan, attr.NAME is the value asked for),
plan.json (the plan, and by scan the index and the request).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from medsynth.checkpoint import Generator, load_generator
from medsynth.core.geometry import Volume
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.protocols import Redraw
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.plan import Plan, resolve


def sample(
    checkpoint: Artifact, out: Path, plan: Plan, *, k_min: int = 11, progress: Progress = silent
) -> Artifact:
    """Draw a plan's cohort.

    Raises UsageProblem where the plan asks for cells that fewer than k_min subjects share.
    """
    config = plan.model_dump(mode="json") | {"k_min": k_min}
    parents = {"checkpoint": checkpoint.digest}
    request = Request("cohort", parents, config, code_digest("medsynth.sample"), plan.seed)
    generator = load_generator(checkpoint.path)
    wanted = resolve(plan, generator.schema, generator.cells, k_min)
    requests = [wanted[index] for index in range(plan.count)]
    return produce(out, request, lambda folder: _build(folder, generator, plan, requests, progress))


def _build(
    folder: Path,
    generator: Generator,
    plan: Plan,
    requests: Sequence[Attributes],
    progress: Progress,
) -> None:
    scans: list[Scan] = []
    for start in range(0, plan.count, generator.batch):
        indices = range(start, min(start + generator.batch, plan.count))
        volumes = _draw(generator, plan, [requests[index] for index in indices], indices)
        for index, voxels in zip(indices, volumes, strict=True):
            scans.append(_store(folder, generator, index, voxels, requests[index]))
        progress(len(scans), plan.count)
    Manifest(tuple(scans), generator.schema).write(folder)
    fields = {
        "plan": plan.model_dump(mode="json"),
        "threads": torch.get_num_threads(),
        "requests": [
            {"scan_id": scan.scan_id, "index": index, "attributes": dict(requests[index])}
            for index, scan in enumerate(scans)
        ],
    }
    (folder / "plan.json").write_text(json.dumps(fields, indent=1) + "\n")


def _draw(
    generator: Generator, plan: Plan, requests: Sequence[Attributes], indices: Sequence[int]
) -> Float[np.ndarray, "n i j k"]:
    how = SamplerConfig(plan.num_steps, guidance=Guidance(plan.guidance))
    return generator.draw(requests, indices, seed=plan.seed, how=how)


def _store(
    folder: Path,
    generator: Generator,
    index: int,
    voxels: Float[np.ndarray, "i j k"],
    request: Attributes,
) -> Scan:
    name = f"syn-{index:06d}"
    return store_scan(
        folder,
        Volume(voxels[None], generator.geometry),
        scan_id=name,
        subject_id=name,
        modality=generator.modality,
        attributes=request,
    )


def redraw_for(checkpoint_folder: Path, plan: Plan, k_min: int = 11) -> Redraw:
    """The judge's way to ask for fresh scans in place of rejected ones.

    Attempt a draws at indices count * a + position, which no other attempt touches.
    """
    generator = load_generator(checkpoint_folder)
    resolve(plan, generator.schema, generator.cells, k_min)

    def redraw(requests: Sequence[Attributes], attempt: int) -> Float[np.ndarray, "n i j k"]:
        if attempt < 1 or len(requests) > plan.count:
            raise ValueError(f"need attempt >= 1 and at most {plan.count} requests")
        start = plan.count * attempt
        return _draw(generator, plan, requests, range(start, start + len(requests)))

    return redraw
