"""Small manifests of scans whose voxels tell their own position."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce

SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years", 0.0, 89.0),
        Attribute("sex", "category", values=("F", "M")),
    )
)


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    """Voxels that hold 2 x + 3 y - z + 200, in RAS+ mm."""
    indices = np.moveaxis(np.indices(shape), 0, -1)
    points = indices @ affine[:3, :3].T + affine[:3, 3]
    values = points @ [2.0, 3.0, -1.0] + 200
    return Volume(values.astype(np.float32)[None], Geometry(shape, affine))


def store(folder: Path, number: int, shape: tuple[int, int, int], modality: str) -> Scan:
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = number, -number, 5
    return store_scan(
        folder,
        ramp(shape, affine),
        scan_id=f"scan-{number:03d}",
        subject_id=f"sub-{number:03d}",
        modality=modality,
        attributes={"age": None if number % 3 == 0 else 40.0 + number, "sex": "FM"[number % 2]},
    )


def build(folder: Path, kinds: list[tuple[tuple[int, int, int], str]]) -> None:
    scans = [store(folder, number, *kind) for number, kind in enumerate(kinds)]
    Manifest(tuple(scans), SCHEMA).write(folder)


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Artifact]:
    """`make_manifest(count)`: a manifest stage of so many subjects; `others` are of other kinds."""

    def make(
        count: int, shape: tuple[int, int, int] = (12, 20, 1), others: list[tuple] | None = None
    ) -> Artifact:
        kinds = [(shape, "MR")] * count + (others or [])
        request = Request("manifest", {"source": str(kinds)}, {}, "code")
        out = tmp_path / f"manifest-{count}-{len(kinds)}"
        out.mkdir(exist_ok=True)
        return produce(out, request, partial(build, kinds=kinds))

    return make


@pytest.fixture
def keys():
    return DEMO_KEYS
