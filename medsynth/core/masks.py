"""Masks and sketches of scans: pictures on the scan's own grid, in the stage folder beside it.

A mask is uint8: 0 is background, n the n-th of its attribute's declared values; a sketch, which
has none, is gray from 0 to 255. The attribute's value is the digest of its voxels, and
masks/DIGEST.nii holds them, so equal masks have one name whoever they belong to.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from medsynth.core.digest import scan_digest
from medsynth.core.geometry import Volume, read_volume, write_volume
from medsynth.core.schema import Attributes, AttributeSchema

FOLDER = "masks"

Mask = UInt8[np.ndarray, "i j k"]


def mask_digest(mask: Mask) -> str:
    """The name of a mask: its voxels decide it, and not where they lie in anybody."""
    return scan_digest(mask, np.eye(4))


def store_mask(folder: Path, volume: Volume) -> str:
    """Write a mask below a stage folder; returns its digest."""
    digest = mask_digest(volume.array[0])
    path = mask_path(folder, digest)
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        write_volume(path, volume)
    return digest


def mask_path(folder: Path, digest: str) -> Path:
    """Where a stage folder keeps a mask; raises ValueError for what is no digest."""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("a mask is named by its digest of 64 hex digits")
    return folder / FOLDER / f"{digest}.nii"


def masks_named(schema: AttributeSchema, rows: Iterable[Attributes]) -> tuple[str, ...]:
    """Digests of the masks that these rows hold, each once."""
    names = [attribute.name for attribute in schema if attribute.kind == "mask"]
    found = (row.get(name) for row in rows for name in names)
    return tuple(dict.fromkeys(str(value) for value in found if value is not None))


def load_masks(
    folder: Path, schema: AttributeSchema, rows: Iterable[Attributes]
) -> Mapping[str, Mask]:
    """The masks of these rows, by digest."""
    return {
        digest: np.ascontiguousarray(read_volume(mask_path(folder, digest)).array[0])
        for digest in masks_named(schema, rows)
    }


def copy_masks(
    source: Path, folder: Path, schema: AttributeSchema, rows: Iterable[Attributes]
) -> None:
    """Copy the masks of these rows from one stage folder to another."""
    for digest in masks_named(schema, rows):
        path = mask_path(folder, digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mask_path(source, digest).read_bytes())
