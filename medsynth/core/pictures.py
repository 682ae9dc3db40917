"""Pictures of scans, as radiologists hang them: anterior or superior up, the right side left."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

Volumes = Float[np.ndarray, "n i j k"]
Plane = Float[np.ndarray, "_ _"]
Paint = Callable[[Plane], UInt8[np.ndarray, "rows columns *colors"]]
"""A plane to its pixels: gray, or red, green, blue and opacity."""
_GAP = 4  # pixels
_TEXT = 13  # pixels


def hang(plane: Plane) -> Plane:
    """A plane of a RAS+ volume as rows from the top: anterior or superior up, right side left."""
    return plane.T[::-1, ::-1]


def planes_of(volume: Float[np.ndarray, "i j k"]) -> list[Plane]:
    """The one plane of a 2D scan; the middle axial, coronal and sagittal planes of a 3D one."""
    i, j, k = (side // 2 for side in volume.shape)
    if volume.shape[2] == 1:
        return [hang(volume[:, :, 0])]
    return [hang(volume[:, :, k]), hang(volume[:, j, :]), hang(volume[i, :, :])]


def gray(plane: Plane) -> UInt8[np.ndarray, "_ _"]:
    """Voxels in [0, 1] as gray."""
    pixels: np.ndarray = np.round(np.clip(np.nan_to_num(plane), 0, 1) * 255).astype(np.uint8)
    return pixels


def scan_picture(
    volume: Float[np.ndarray, "i j k"], *, height: int = 128, paint: Paint = gray
) -> Image.Image:
    """One scan as a picture of at least this height, in pixels; 3D as three planes."""
    planes = planes_of(volume)
    zoom = max(1.0, height / max(len(plane) for plane in planes))
    tiles = [_tile(paint(plane), zoom) for plane in planes]
    width = sum(tile.width for tile in tiles) + _GAP * (len(tiles) - 1)
    picture = Image.new(tiles[0].mode, (width, max(tile.height for tile in tiles)))
    left = 0
    for tile in tiles:
        picture.paste(tile, (left, (picture.height - tile.height) // 2))
        left += tile.width + _GAP
    return picture


def image_grid(
    volumes: Volumes, columns: int, *, labels: Sequence[str] = (), height: int = 128
) -> Image.Image:
    """Scans side by side, in rows of `columns`, with a label below each where labels are given."""
    if not len(volumes) or columns < 1:
        raise ValueError(f"a grid needs scans and columns, got {len(volumes)} and {columns}")
    pictures = [scan_picture(volume, height=height) for volume in volumes]
    columns = min(columns, len(pictures))
    wide = pictures[0].width + _GAP
    tall = pictures[0].height + _GAP + (_TEXT + _GAP if labels else 0)
    rows = -(-len(pictures) // columns)
    grid = Image.new("L", (columns * wide + _GAP, rows * tall + _GAP))
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(_TEXT - 2)
    for number, picture in enumerate(pictures):
        left, top = _GAP + number % columns * wide, _GAP + number // columns * tall
        grid.paste(picture, (left, top))
        if number < len(labels):
            draw.text((left, top + picture.height + 1), labels[number], fill=200, font=font)
    return grid


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as PNG, without any text chunk."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def inlined(picture: Image.Image) -> str:
    """The picture as an address that holds it whole."""
    return f"data:image/png;base64,{b64encode(png_bytes(picture)).decode()}"


def _tile(pixels: UInt8[np.ndarray, "rows columns *colors"], zoom: float) -> Image.Image:
    rows, columns = pixels.shape[:2]
    size = (max(1, round(columns * zoom)), max(1, round(rows * zoom)))
    return Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC)
