"""Burned-in text: whether a volume's pixels carry writing.

A cheap detector of lines looks at every volume; tesseract, where it is installed, decides about
places that only may be writing. Markers of side or view ("L", "PA") are no identifiers.

Reference: DICOM PS3.15, E.3.1 (Clean Pixel Data Option).
"""

from collections.abc import Iterator
from typing import Literal

from medsynth.core.geometry import Volume
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.ocr import count_in_line, count_in_picture, find_program
from medsynth.ingest.pixels.text_lines import Gray, Line, find_lines
from medsynth.ingest.pixels.text_pictures import pictures, plane_axes

Finding = Literal["text", "marker", "suspected", ""]
_FEWEST_CHARACTERS = 4  # writing of fewer is a marker
_LIKELY = 0.95  # from which two characters read are enough
_FEWEST_BESIDES = 2
_MOST_READ = 3  # places of a volume that tesseract looks at


def find_text(volume: Volume, config: PixelChecks, plane_axis: int | None = None) -> Finding:
    """Whether there is writing, only a marker, something that may be writing, or nothing.

    `plane_axis` is the axis along which planes lie, where it is known. Refuses with `ocr_missing`.
    """
    program = find_program(config)
    axes = plane_axes(volume) if plane_axis is None else (plane_axis,)
    doubts: list[tuple[Gray, Line]] = []
    for axis in axes:
        for picture, polarities in pictures(volume, axis, every_plane=config.every_plane):
            for line in _likely(picture, polarities, config):
                if line.score >= config.certain and line.num_pieces >= _FEWEST_CHARACTERS:
                    return "text"
                doubts.append((picture, line))
            if config.ocr == "require" and _is_read(program, picture, config):
                return "text"
    return _judged(doubts, program, config)


def _likely(picture: Gray, polarities: tuple[bool, ...], config: PixelChecks) -> Iterator[Line]:
    for dark in polarities:
        for line in find_lines(picture, dark=dark):
            if line.score >= config.doubtful:
                yield line


def _judged(doubts: list[tuple[Gray, Line]], program: str, config: PixelChecks) -> Finding:
    """What tesseract makes of the most likely places."""
    counts = []
    for picture, line in sorted(doubts, key=lambda doubt: -doubt[1].score)[:_MOST_READ]:
        counts.append(count_in_line(program, picture, line, config) if program else 0)
        if counts[-1] >= (_FEWEST_CHARACTERS if line.score < _LIKELY else _FEWEST_BESIDES):
            return "text"
    if not counts:
        return ""
    return "marker" if max(counts) else "suspected"


def _is_read(program: str, picture: Gray, config: PixelChecks) -> bool:
    return count_in_picture(program, picture, config) >= _FEWEST_CHARACTERS
