"""Lines of characters in a picture: what writing looks like, whatever it says.

Strokes are thin and stand out from what surrounds them (a top-hat finds them); they form pieces of
like height and brightness that stand side by side on one base line. Anatomy has any one of these
and hardly ever all. Nothing is recognized, so nothing can leak.

Sources of the idea: Matas et al., "Robust wide-baseline stereo from maximally stable extremal
regions", BMVC 2002 (a range of thresholds); Epshtein et al., "Detecting text in natural scenes with
stroke width transform", CVPR 2010 (letters chained into lines).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Gray = UInt8[np.ndarray, "rows columns"]
_REACH = (1, 2, 4)  # shifts of windows that double: together they span 8 pixels
_NEAR = np.ones((3, 3), dtype=bool)
_THRESHOLDS = (10, 17, 28, 48, 80, 130)  # gray levels by which strokes stand out
_HEIGHTS = (5, 40)  # px, of capitals
_NOISY = 6.0  # gray levels, from which pictures are smoothed
_MOST_PIECES = 700  # bounds the table of pairs
_FEWEST_IN_LINE = 3
# Logistic regression of planted lines against lines in text-free scans (docs/benchmarks/pixels.md).
_WEIGHTS = np.array([1.08, 4.69, 1.76, -0.22, 6.99, 0.07, -11.94])
_BIAS = -10.56
_RARE = 1.5  # what writing that is dark, or runs down the picture, must make up for


@dataclass(frozen=True)
class Line:
    """Pieces in a row: how many, how much they look like writing (0 to 1) and where they are.

    `box` is (top, bottom, left, right) in pixels, half open; `dark` strokes are darker than their
    ground, and `down` the picture runs what stands in its columns.
    """

    num_pieces: int
    score: float
    box: tuple[int, int, int, int]
    dark: bool
    down: bool


@dataclass(frozen=True)
class _Pieces:
    """Connected strokes: boxes (top, bottom, left, right; half open), ink and brightness."""

    box: Int[np.ndarray, "pieces 4"]
    ink: Int[np.ndarray, " pieces"]
    peak: Float[np.ndarray, " pieces"]

    def chosen(self, which: Any) -> "_Pieces":
        return _Pieces(self.box[which], self.ink[which], self.peak[which])

    def transposed(self) -> "_Pieces":
        return _Pieces(self.box[:, [2, 3, 0, 1]], self.ink, self.peak)


def find_lines(picture: Gray, *, dark: bool) -> Iterator[Line]:
    """What may be lines of bright or of dark writing, at every threshold; lines repeat."""
    shown = 255 - picture if dark else picture
    noise = noise_of(shown)
    if noise > _NOISY:
        shown = ndimage.uniform_filter(shown, 3)
        noise = noise_of(shown)
    ridge = strokes(shown)
    for threshold in _THRESHOLDS:
        if threshold < 2.5 * noise:
            continue
        mask = ridge >= threshold
        if not mask.any():
            return
        pieces = _like_characters(_pieces(mask, shown))
        yield from _lines(pieces, noise, dark=dark, down=False)
        yield from _lines(pieces.transposed(), noise, dark=dark, down=True)


def noise_of(picture: Gray) -> float:
    """Standard deviation of noise, gray levels: a median of differences, which edges do not move.

    The median of |a - b| of two normal draws is 0.954 standard deviations.
    """
    steps = np.abs(np.diff(picture[::2].astype(np.int16), axis=1))
    return float(np.median(steps) / 0.954)


def strokes(picture: Gray) -> Gray:
    """White top-hat with a flat square of 8 pixels: what is bright and thinner than that."""
    opened = _spread(_spread(picture, np.minimum, 1), np.maximum, -1)
    return np.asarray(picture - np.minimum(opened, picture))


def _spread(picture: Gray, pick: np.ufunc, sign: int) -> Gray:
    """Minimum or maximum over 8 pixels along both axes, by windows that double."""
    for axis in (0, 1):
        for reach in _REACH:
            picture = pick(picture, _shifted(picture, sign * reach, axis))
    return picture


def _shifted(picture: Gray, by: int, axis: int) -> Gray:
    """The picture moved along an axis; its edge is repeated."""
    length = picture.shape[axis]
    return np.take(picture, np.clip(np.arange(length) + by, 0, length - 1), axis)


def _pieces(mask: Bool[np.ndarray, "rows columns"], picture: Gray) -> _Pieces:
    labels, count = ndimage.label(mask, _NEAR)
    at = np.flatnonzero(mask)
    label = labels.ravel()[at] - 1
    rows, columns = np.divmod(at, mask.shape[1])
    box = np.zeros((count, 4), dtype=np.int64)
    box[:, ::2] = max(mask.shape)
    for side, place in ((0, rows), (2, columns)):
        np.minimum.at(box[:, side], label, place)
        np.maximum.at(box[:, side + 1], label, place + 1)
    peak = np.zeros(count)
    np.maximum.at(peak, label, picture.ravel()[at].astype(np.float64))
    return _Pieces(box, np.bincount(label, minlength=count), peak)


def _like_characters(pieces: _Pieces) -> _Pieces:
    """Pieces of a character's size, either way up, that are neither specks nor blocks."""
    top, bottom, left, right = pieces.box.T
    sides = np.stack([bottom - top, right - left])
    low, high = sides.min(axis=0), sides.max(axis=0)
    is_sized = (high >= _HEIGHTS[0]) & (low <= _HEIGHTS[1]) & (high <= 5 * _HEIGHTS[1])
    fill = pieces.ink / (low * high)
    # The thin ones (I, l, 1) fill their box.
    chosen = np.flatnonzero(is_sized & (fill >= 0.15) & ((fill <= 0.9) | (2 * low <= high)))
    if len(chosen) > _MOST_PIECES:
        chosen = chosen[np.argsort(-pieces.peak[chosen], kind="stable")[:_MOST_PIECES]]
    return pieces.chosen(chosen)


def _lines(pieces: _Pieces, noise: float, *, dark: bool, down: bool) -> Iterator[Line]:
    top, bottom, left, right = pieces.box.T
    height, width = bottom - top, right - left
    fits = (height >= _HEIGHTS[0]) & (height <= _HEIGHTS[1]) & (width <= 5 * height)
    pieces = pieces.chosen(fits)
    near = _neighbors(pieces, noise)
    linked = near.any(axis=0) | near.any(axis=1)
    if linked.sum() < _FEWEST_IN_LINE:
        return
    pieces = pieces.chosen(linked)
    _, label = connected_components(coo_array(near[np.ix_(linked, linked)]), directed=False)
    for number in np.flatnonzero(np.bincount(label) >= _FEWEST_IN_LINE):
        yield _line(pieces.chosen(label == number), dark=dark, down=down)


def _neighbors(pieces: _Pieces, noise: float) -> Bool[np.ndarray, "pieces pieces"]:
    """Which piece may be the next character of which: close, level, of like height and brightness.

    Either edge may be level: the top is the base line of writing that stands on its head.
    """
    top, bottom, left, right = pieces.box.T
    height = bottom - top
    tall, low = np.maximum(height[:, None], height), np.minimum(height[:, None], height)
    gap = left[None] - right[:, None]
    near = (gap >= -0.25 * low) & (gap <= 1.6 * tall) & (left[None] > left[:, None])
    slack = np.maximum(1, 0.13 * tall)
    level = (np.abs(top[:, None] - top) <= slack) | (np.abs(bottom[:, None] - bottom) <= slack)
    alike = np.abs(pieces.peak[:, None] - pieces.peak) <= 25 + 3 * noise
    return np.asarray(near & level & alike & (low >= 0.55 * tall))


def _line(pieces: _Pieces, *, dark: bool, down: bool) -> Line:
    top, bottom, left, right = (int(f(pieces.box[:, s])) for s, f in enumerate((min, max) * 2))
    seen = looks(pieces)
    logit = float(seen @ _WEIGHTS + _BIAS) - _RARE * (dark + down)
    box = (left, right, top, bottom) if down else (top, bottom, left, right)
    return Line(len(pieces.ink), float(1 / (1 + np.exp(-logit))), box, dark, down)


def looks(pieces: _Pieces) -> Float[np.ndarray, " 7"]:
    """What tells writing: count, level edges (both), like brightness, ink, length, like heights."""
    top, bottom, left, right = pieces.box.T
    height, width = bottom - top, right - left
    tall = float(np.median(height))
    slack = max(1.0, 0.1 * tall)
    level = sorted(float((np.abs(s - np.median(s)) <= slack).mean()) for s in (top, bottom))
    return np.array(
        [
            min(len(height), 12),
            level[1],
            level[0],
            min(float(pieces.peak.std()), 60.0),
            float(pieces.ink.sum() / (height * width).sum()),
            min(float(right.max() - left.min()) / tall, 12.0),
            min(float(height.std()) / tall, 0.5),
        ]
    )
