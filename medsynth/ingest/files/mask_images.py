"""Masks as pictures: label maps and sketches on a scan's own grid, for attributes of kind mask.

A source "mask:WHERE#1,2" gives a map of these labels, "mask:WHERE" of all that is not 0, and
"mask:WHERE#gray" a sketch: whole numbers up to 255 or 65535, or fractions from 0 to 1.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.core.manifest import Scan
from medsynth.core.masks import store_mask
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.facts.attributes import UNREADABLE, Facts
from medsynth.ingest.files.masks import MaskRule, whole_labels
from medsynth.ingest.files.nifti import read_header, read_volumes
from medsynth.ingest.files.picture import read_picture
from medsynth.ingest.source import InputFile

_SAME_PLACE = 0.02  # voxels that a mask's corner may be off its scan's, and count as the same
_GRAYS = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


def stored_masks(folder: Path, scan: Scan, facts: Facts, config: IngestConfig) -> Facts:
    """The facts with the digests of the scan's masks, which are written below `folder`."""
    digests = {
        source: _stored(folder, scan, files, MaskRule.parse(source), config)
        for source, files in facts.mask_files.items()
    }
    return replace(facts, mask_files={}, mask_digests=digests)


def _stored(
    folder: Path,
    scan: Scan,
    files: tuple[InputFile, ...],
    rule: MaskRule,
    config: IngestConfig,
) -> str:
    """The digest; a word that is none where a mask cannot be read or lies on another grid."""
    if len(files) != 1:
        return UNREADABLE
    try:
        mask = read_mask(files[0], rule, config)
    except (UnreadableScan, OSError):
        return UNREADABLE
    return store_mask(folder, mask) if _is_same_place(mask, scan) else UNREADABLE


def _is_same_place(mask: Volume, scan: Scan) -> bool:
    ours, theirs = mask.geometry, scan.geometry
    if ours.spatial_shape != theirs.spatial_shape:
        return False
    corners = np.array([[0, 0, 0, 1], [*(side - 1 for side in ours.spatial_shape), 1]]).T
    offset = np.linalg.inv(theirs.affine) @ (ours.affine @ corners) - corners
    return bool(np.abs(offset).max() < _SAME_PLACE)


def read_mask(file: InputFile, rule: MaskRule, config: IngestConfig) -> Volume:
    """A mask as core.masks has it, along RAS+ axes; raises UnreadableScan where it is none."""
    if not file.name.lower().endswith((".nii", ".nii.gz")):
        volume, _ = read_picture(file, config)
    else:
        found = list(read_volumes(file, read_header(file, config), config))
        if len(found) != 1:
            raise UnreadableScan("multi_volume")
        volume = found[0].volume
    codes = _grays(volume.array) if rule.is_gray else _codes(volume.array, rule)
    return Volume(np.ascontiguousarray(codes), volume.geometry)


def _codes(voxels: Shaped[np.ndarray, "1 i j k"], rule: MaskRule) -> UInt8[np.ndarray, "1 i j k"]:
    whole = whole_labels(voxels)
    codes = np.zeros(voxels.shape, np.uint8)
    if not rule.labels:
        codes[whole != 0] = 1
    for code, label in enumerate(sorted(rule.labels), start=1):
        codes[whole == label] = code
    return codes


def _grays(voxels: Shaped[np.ndarray, "1 i j k"]) -> UInt8[np.ndarray, "1 i j k"]:
    most = _GRAYS.get(voxels.dtype.name)
    if most is None or voxels.min() < 0 or voxels.max() > most:
        raise UnreadableScan("no_mask")
    return np.rint(voxels * (255 / most)).astype(np.uint8)
