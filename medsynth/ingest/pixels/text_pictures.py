"""Pictures of a volume in which burned-in writing shows.

Writing that a scanner or a screen has burned in stands at the same place of every plane, so what
moves blurs in a projection and the writing stays sharp.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from medsynth.core.geometry import Volume
from medsynth.ingest.pixels.text_lines import Gray

_MOST_PLANES = 16
_SMALLEST = 48  # px; on a smaller plane no writing has room
_ANISOTROPIC = 1.15


def plane_axes(volume: Volume) -> tuple[int, ...]:
    """Axes along which planes may lie: the only thin, odd or coarse one, else all three."""
    shape, spacing = volume.geometry.spatial_shape, np.array(volume.geometry.spacing)
    if 1 in shape:
        return (shape.index(1),)
    coarse = np.argsort(spacing)
    if spacing[coarse[2]] > _ANISOTROPIC * spacing[coarse[1]]:
        return (int(coarse[2]),)
    for axis in range(3):
        others = [shape[other] for other in range(3) if other != axis]
        if others[0] == others[1] != shape[axis]:
            return (axis,)
    return (0, 1, 2)


def pictures(
    volume: Volume, axis: int, *, every_plane: bool
) -> Iterator[tuple[Gray, tuple[bool, ...]]]:
    """(picture as a screen shows it, polarities worth a look: is the writing dark?)."""
    array = volume.array[0]
    sides = [side for other, side in enumerate(array.shape) if other != axis]
    if min(sides) < _SMALLEST:
        return
    count = array.shape[axis]
    if count == 1:
        yield _shown(array.take(0, axis)), (False, True)
        return
    planes = _some(array, axis, _MOST_PLANES)
    yield _shown(planes.mean(axis=axis, dtype=np.float32)), (False, True)
    yield _shown(planes.min(axis=axis)), (False,)
    yield _shown(array.max(axis=axis)), (False, True)
    if every_plane:
        for plane in np.moveaxis(array, axis, 0):
            yield _shown(plane), (False, True)


def _some(array: Shaped[np.ndarray, "i j k"], axis: int, most: int) -> Shaped[np.ndarray, "a b c"]:
    step = -(-array.shape[axis] // most)
    return np.moveaxis(np.moveaxis(array, axis, 0)[step // 2 :: step], 0, axis)


def _shown(plane: Shaped[np.ndarray, "across up"]) -> Gray:
    """The plane as radiologists see it, in 256 gray levels between its extreme percentiles."""
    picture = np.ascontiguousarray(plane[::-1, ::-1].T, dtype=np.float32)
    # A short line covers a thousandth of a picture: what saturates must be less than that.
    low, high = np.percentile(picture[::2, ::2], [0.2, 99.95])
    scaled = (picture - low) * (255 / max(float(high - low), 1e-6))
    return np.asarray(np.clip(scaled, 0, 255), dtype=np.uint8)
