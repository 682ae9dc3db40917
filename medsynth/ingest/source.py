"""The input folder: which files lie in it, and what each of them is by its first bytes."""

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import Keys

Form = Literal["dicom", "nifti", "picture"]
_PNG, _JPEG, _GZIP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x1f\x8b"
_TIFF = b"II*\0", b"MM\0*"
_NIFTI_MAGIC = {348: slice(344, 348), 540: slice(4, 8)}
_MGH_VERSION = b"\0\0\0\x01"


@dataclass(frozen=True)
class InputFile:
    """One file below the source; `name` is its path relative to the source."""

    path: Path
    name: str
    size: int
    mtime_ns: int


def walk(source: Path, leave_out: Path | None = None) -> list[InputFile]:
    """Every regular file, sorted by name; links are not followed, `leave_out` is not entered."""
    skipped = leave_out.resolve() if leave_out else None
    return sorted(_walk(source, "", skipped), key=lambda file: file.name)


def _walk(folder: Path, prefix: str, skipped: Path | None) -> Iterator[InputFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if Path(entry.path).resolve() != skipped:
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", skipped)
            elif entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                name = f"{prefix}{entry.name}"
                yield InputFile(Path(entry.path), name, stat.st_size, stat.st_mtime_ns)


def is_plain(path: Path) -> bool:
    """Whether this is a regular file that no link stands for."""
    return path.is_file() and not path.is_symlink()


def source_digest(files: list[InputFile], keys: Keys) -> str:
    """Keyed digest over relative path, size and modification time of every file."""
    return keys.digest("source", *(f"{f.name}\t{f.size}\t{f.mtime_ns}" for f in files))


def form_of(file: InputFile) -> Form:
    """What a file is, whatever its name says; raises UnreadableScan where it is no image."""
    with file.path.open("rb") as handle:
        head = handle.read(1024)
    if not head:
        raise UnreadableScan("empty")
    if head.startswith((_PNG, _JPEG)):
        return "picture"
    if head[128:132] == b"DICM" or _has_bare_dicom(head):
        return "dicom"
    if head.startswith(_TIFF):
        return "picture"
    if _has_nifti_header(_inflated(file.path) if head.startswith(_GZIP) else head):
        return "nifti"
    raise UnreadableScan("not_an_image")


def _has_bare_dicom(head: bytes) -> bool:
    """Whether a file without preamble begins with an element of group 0002 or 0008."""
    little, big = head[:2] in (b"\x02\x00", b"\x08\x00"), head[:2] in (b"\x00\x02", b"\x00\x08")
    if len(head) < 8 or not (little or big):
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[4:8], "little")
    return explicit or (little and head[3] == 0 and length < 1024)


def _inflated(path: Path) -> bytes:
    with gzip.open(path) as handle:
        return handle.read(1024)


def _has_nifti_header(head: bytes) -> bool:
    """Whether the header is NIfTI-1 or NIfTI-2 of a single file; other formats are named."""
    size = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    magics = {bytes(head[_NIFTI_MAGIC[s]][:3]) for s in size if s in _NIFTI_MAGIC}
    if magics - {b"n+1", b"n+2"}:
        raise UnreadableScan("nifti_pair" if magics & {b"ni1", b"ni2"} else "analyze")
    if head.startswith(_MGH_VERSION) and len(head) >= 284 and head[4:6] == b"\0\0":
        raise UnreadableScan("mgh")
    return bool(magics)
