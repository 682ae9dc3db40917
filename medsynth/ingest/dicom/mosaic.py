"""Siemens mosaics: one image that holds all slices of a volume as tiles of a square.

The position in the header is where the first tile would begin if the whole mosaic were one slice
around the volume's center, so it is moved to where the tile begins. The order of tiles follows the
slice normal of the CSA header, which may run against that of the image.
Reference: nibabel, "DICOM Mosaic format".
"""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.csa import csa_numbers
from medsynth.ingest.dicom.elements import Elements
from medsynth.ingest.dicom.frame import INSTANCE_KEY, Frame, shared
from medsynth.ingest.dicom.private import private_tag

_UIH_GRID = 0x00651050
_MOST_TILES = 4096


def is_mosaic(elements: Elements) -> bool:
    """Whether the image holds tiles; raises UnreadableScan where nothing here can place them."""
    if _UIH_GRID in elements and elements.numbers(_UIH_GRID)[:1] > (1.0,):
        raise UnreadableScan("mosaic")
    return "MOSAIC" in elements.text("ImageType").upper().split("\\")


def mosaic_tiles(whole: Frame, elements: Elements) -> list[Frame]:
    """The slices of a mosaic, in the order of its tiles."""
    csa = elements.raw(private_tag(elements, 0x0029, "SIEMENS CSA HEADER", 0x10))
    count = _num_tiles(elements, csa)
    grid = math.ceil(math.sqrt(count))
    rows, columns = whole.shape[0] // grid, whole.shape[1] // grid
    if whole.shape != (rows * grid, columns * grid):
        raise UnreadableScan("mosaic")
    step, flags = _step(whole, elements, csa)
    first = _first_position(whole, (rows, columns))
    key = shared((*whole.volume_key, f"{INSTANCE_KEY}{whole.instance}"))
    return [
        replace(
            whole,
            index=tile,
            shape=(rows, columns),
            corner=(tile // grid * rows, tile % grid * columns),
            position=tuple(float(x) for x in first + tile * step),
            thickness=float(np.linalg.norm(step)),
            volume_key=key,
            flags=(*whole.flags, *flags),
        )
        for tile in range(count)
    ]


def _num_tiles(elements: Elements, csa: bytes) -> int:
    told = csa_numbers(csa, "NumberOfImagesInMosaic")
    told = told or elements.numbers(private_tag(elements, 0x0019, "SIEMENS MR HEADER", 0x0A), "US")
    if not told or not 1 <= told[0] <= _MOST_TILES or not float(told[0]).is_integer():
        raise UnreadableScan("mosaic")
    return int(told[0])


def _step(
    whole: Frame, elements: Elements, csa: bytes
) -> tuple[Float[np.ndarray, "3"], tuple[str, ...]]:
    """From one tile to the next, mm in LPS; flagged where the header does not say which way."""
    spacing = elements.numbers("SpacingBetweenSlices") or csa_numbers(csa, "SpacingBetweenSlices")
    if not spacing or not spacing[0] > 0:
        raise UnreadableScan("mosaic")
    across, down = np.array(whole.orientation).reshape(2, 3)
    normal = np.cross(across, down)
    told = csa_numbers(csa, "SliceNormalVector")
    if len(told) != 3:
        return normal * float(spacing[0]), ("slice_order_assumed",)
    along = float(normal @ np.array(told))
    if abs(along) < 0.9:
        raise UnreadableScan("mosaic")
    return normal * float(spacing[0]) * np.sign(along), ()


def _first_position(whole: Frame, tile: tuple[int, int]) -> Float[np.ndarray, "3"]:
    """Where the first tile's first voxel lies, mm in LPS."""
    across, down = np.array(whole.orientation).reshape(2, 3)
    between_rows, between_columns = whole.spacing or (1.0, 1.0)
    excess = (whole.shape[0] - tile[0]) / 2, (whole.shape[1] - tile[1]) / 2
    origin = np.array(whole.position)
    return np.asarray(
        origin + down * between_rows * excess[0] + across * between_columns * excess[1]
    )
