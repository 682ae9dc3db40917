"""b-values and gradient directions beside a diffusion file (.bval, .bvec), volume by volume.

FSL's convention: directions are in voxel axes, the first one turned over where the voxel axes are
right-handed. Source: BIDS 1.11, "Diffusion imaging data"; FSL FDT, "bvecs and bvals".
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medsynth.core.errors import UnreadableScan

_MOST_BYTES = 1 << 20
_NO_DIRECTION = 1e-3  # length; a volume without diffusion weighting has none
_UNIT_LENGTH = 0.05  # how far a direction's length may be from 1
Encoding = dict[str, float | list[float]]


def read_gradients(
    bval: Path, bvec: Path | None, affine: Float[np.ndarray, "4 4"], count: int
) -> list[Encoding]:
    """DiffusionBValue (s/mm2) and DiffusionGradientOrientation (LPS) of each of `count` volumes.

    `affine` is the file's own. Raises UnreadableScan where the texts do not fit the file.
    """
    values = [number for line in _numbers(bval) for number in line]
    if len(values) != count or min(values) < 0:
        raise UnreadableScan("bad_gradients")
    found: list[Encoding] = [{"DiffusionBValue": value} for value in values]
    if bvec is None:
        return found
    for encoding, direction in zip(found, _directions(bvec, affine, count), strict=True):
        if direction is not None:
            encoding["DiffusionGradientOrientation"] = direction
        elif encoding["DiffusionBValue"] != 0:
            raise UnreadableScan("bad_gradients")
    return found


def _directions(
    bvec: Path, affine: Float[np.ndarray, "4 4"], count: int
) -> list[list[float] | None]:
    lines = _numbers(bvec)
    if {len(line) for line in lines} == {3} and len(lines) == count and count != 3:
        lines = [list(axis) for axis in zip(*lines, strict=True)]
    if len(lines) != 3 or {len(line) for line in lines} != {count}:
        raise UnreadableScan("bad_gradients")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    handed = np.array([-1.0 if np.linalg.det(axes) > 0 else 1.0, 1.0, 1.0])
    to_lps = np.array([-1.0, -1.0, 1.0])
    found: list[list[float] | None] = []
    for own in np.array(lines).T:
        length = float(np.linalg.norm(own))
        if length > _NO_DIRECTION and abs(length - 1) > _UNIT_LENGTH:
            raise UnreadableScan("bad_gradients")
        turned = to_lps * (axes @ (own * handed)) / max(length, _NO_DIRECTION)
        found.append([round(float(x), 6) for x in turned] if length > _NO_DIRECTION else None)
    return found


def _numbers(path: Path) -> Sequence[list[float]]:
    """The lines of numbers of a small text file."""
    with path.open("rb") as handle:
        data = handle.read(_MOST_BYTES)
    try:
        lines = [
            [float(word) for word in line.split()] for line in data.decode("ascii").split("\n")
        ]
    except ValueError:
        raise UnreadableScan("bad_gradients") from None
    lines = [line for line in lines if line]
    if not lines or not all(np.isfinite(line).all() for line in lines):
        raise UnreadableScan("bad_gradients")
    return lines
