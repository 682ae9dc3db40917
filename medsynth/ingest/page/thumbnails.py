"""Small pictures of scans: right side left, anterior or superior up, as radiologists hang them."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from medsynth.core.geometry import Volume
from medsynth.core.manifest import Scan

SIDE = 144  # pixels of a picture's longer side
_GAP = 3  # pixels between planes
_DARK, _BRIGHT = 0.5, 99.5  # percentiles of the shown voxels that become black and white
_MOST_SAMPLES = 20_000  # voxels that percentiles are taken from
_ANISOTROPIC = 1.5  # coarsest over finest spacing of a volume that was acquired plane by plane

Plane = Shaped[np.ndarray, "_ _"]  # rows columns


def draw_scan(volume: Volume, scan: Scan, *, orthogonal: bool) -> bytes:
    """PNG of a scan's middle acquired plane, or of its middle axial, coronal and sagittal ones.

    Only the shown planes are read of a memory-mapped volume.
    """
    is_3d = min(volume.geometry.spatial_shape) > 1
    axes = [2, 1, 0] if orthogonal and is_3d else [_across(scan)]
    planes = [_hung(volume, axis) for axis in axes]
    low, high = _window([plane for plane, _ in planes])
    if "monochrome1" in scan.flags:  # stored as 0 = white
        low, high = high, low
    zoom = SIDE / max(max(size_mm) for _, size_mm in planes)
    tiles = [_tile(plane, size_mm, zoom, (low, high)) for plane, size_mm in planes]
    return _png(_joined(tiles))


def data_uri(png: bytes) -> str:
    """The picture as an address that holds it."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _across(scan: Scan) -> int:
    """The axis along which planes were acquired; where nobody knows, the one with clear gaps."""
    if scan.provenance and scan.provenance.plane_axis is not None:
        return scan.provenance.plane_axis
    if 1 in scan.shape[:3]:
        return scan.shape.index(1)
    spacing = scan.geometry.spacing
    return int(np.argmax(spacing)) if max(spacing) > _ANISOTROPIC * min(spacing) else 2


def _hung(volume: Volume, axis: int) -> tuple[Plane, tuple[float, float]]:
    """(middle plane across a RAS+ axis, its width and height in mm).

    Rows run down from anterior or superior; columns from the right side, or from anterior.
    """
    shape, spacing = volume.geometry.spatial_shape, volume.geometry.spacing
    at = [slice(None)] * axis + [shape[axis] // 2]
    wide, high = (n for n in range(3) if n != axis)
    size_mm = shape[wide] * spacing[wide], shape[high] * spacing[high]
    # A copy, for a plane that is scattered over the whole file is read only once.
    return np.array(volume.array[0][tuple(at)]).T[::-1, ::-1], size_mm


def _window(planes: Sequence[Plane]) -> tuple[float, float]:
    """Values that become black and white."""
    shown = np.concatenate([plane.ravel() for plane in planes])
    sample = shown[:: -(-len(shown) // _MOST_SAMPLES)]
    low, high = np.percentile(sample, (_DARK, _BRIGHT))
    # A small bright thing on an empty background lies above every percentile.
    return (float(low), float(high)) if high > low else (float(shown.min()), float(shown.max()))


def _tile(
    plane: Plane, size_mm: tuple[float, float], zoom: float, window: tuple[float, float]
) -> Image.Image:
    """One plane in gray, its sides in proportion to millimeters; `zoom` is in pixels per mm."""
    black, white = window
    gray = _gray((plane.astype(np.float64) - black) / ((white - black) or 1.0))
    width, height = (max(1, round(mm * zoom)) for mm in size_mm)
    return Image.fromarray(gray).resize((width, height), Image.Resampling.BICUBIC)


def _gray(share: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    gray: UInt8[np.ndarray, "rows columns"] = np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return gray


def _joined(tiles: Sequence[Image.Image]) -> Image.Image:
    width = sum(tile.width for tile in tiles) + _GAP * (len(tiles) - 1)
    picture = Image.new("L", (width, max(tile.height for tile in tiles)))
    left = 0
    for tile in tiles:
        picture.paste(tile, (left, (picture.height - tile.height) // 2))
        left += tile.width + _GAP
    return picture


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
