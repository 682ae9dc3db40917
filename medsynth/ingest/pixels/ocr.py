"""Tesseract as a witness: how many characters it reads in a place; what they are is dropped.

The program runs as a child process under limits of time and memory; pictures go in by a pipe, so
no file is written, and of its words only the count of letters and digits is kept.
"""

import io
import shutil
import subprocess

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.text_lines import Gray, Line

_LIMITED = 'ulimit -v "$0"; ulimit -t "$1"; shift; exec "$@"'
_SURE = 60.0  # per cent, tesseract's own confidence in a word
_CAPITAL = 32  # px, the height at which tesseract reads best
_MARGIN = 0.7  # of a character's height
_WHOLE, _ONE_LINE = "11", "7"  # tesseract's page segmentation: sparse text, a single line
_LONGEST = 2048  # px
_Made = UInt8[np.ndarray, "height width"]


def find_program(config: PixelChecks) -> str:
    """Where tesseract is; empty where it is off or missing, refused where it is required."""
    if config.ocr == "off":
        return ""
    program = shutil.which(config.ocr_program) or ""
    if not program and config.ocr == "require":
        raise UnreadableScan("ocr_missing")
    return program


def count_in_line(program: str, picture: Gray, line: Line, config: PixelChecks) -> int:
    """Most characters that are read at a line's place, upright, on its head or mirrored."""
    cut = _cut(picture, line)
    best = 0
    for turned in (cut, cut[::-1, ::-1], cut[::-1], cut[:, ::-1]):
        best = max(best, _count(program, turned, _ONE_LINE, config))
        if best >= line.num_pieces:
            break
    return best


def count_in_picture(program: str, picture: Gray, config: PixelChecks, factor: float = 2.0) -> int:
    """Characters that are read anywhere in the picture."""
    return _count(program, _resized(picture, factor), _WHOLE, config)


def _cut(picture: Gray, line: Line) -> _Made:
    """The line with a margin, as dark writing that runs to the right on bright ground."""
    top, bottom, left, right = line.box
    height = right - left if line.down else bottom - top
    more = max(3, round(_MARGIN * height))
    cut = picture[max(0, top - more) : bottom + more, max(0, left - more) : right + more]
    cut = cut.T if line.down else cut
    low, high = int(cut.min()), int(cut.max())
    clear = ((cut.astype(np.float32) - low) * (255 / max(high - low, 1))).astype(np.uint8)
    return _resized(clear if line.dark else 255 - clear, _CAPITAL / height)


def _resized(picture: Gray, factor: float) -> _Made:
    image = Image.fromarray(np.ascontiguousarray(picture))
    factor = min(max(factor, 1.0), _LONGEST / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _count(program: str, picture: Gray, segmentation: str, config: PixelChecks) -> int:
    """Letters and digits in words that tesseract is sure of; 0 where it fails or runs out."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(held, "PNG", compress_level=1)
    limits = [str(config.ocr_bytes >> 10), str(max(1, round(config.ocr_seconds)))]
    read = [program, "stdin", "stdout", "--dpi", "150", "--psm", segmentation, "tsv"]
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _LIMITED, *limits, *read],
            input=held.getvalue(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=config.ocr_seconds,
            env={"OMP_THREAD_LIMIT": "1", "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0
    return sum(_characters(row) for row in done.stdout.decode(errors="replace").splitlines()[1:])


def _characters(row: str) -> int:
    """Letters and digits of one row of tesseract's table: ... confidence, word."""
    *_, confidence, word = row.split("\t") if row.count("\t") >= 11 else ("0", "")
    return sum(map(str.isalnum, word)) if float(confidence) >= _SURE else 0
