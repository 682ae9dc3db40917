"""One instance on its way to a file: its own data set under a fresh, minimal file header.

The archive's preamble (which may hold a program) and meta elements (which name the sender) are
left behind, so that the same data set gives the same file whatever brought it. The data set's
bytes are not touched (PS3.10, section 7.1).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from medsynth.ingest.pacs.peer import is_uid
from medsynth.ingest.pacs.problems import RetrievalProblem

_HEAD_BYTES = 1 << 14
_META_GROUP = 0x0002
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
_IMPLEMENTATION = "2.25.80302813137786398554742050926734630921603366648225212145404"


@dataclass(frozen=True, repr=False)
class Instance:
    """A file that was written: its SOP instance UID, SHA-256 and size in bytes."""

    uid: str
    sha256: str
    size: int


def write_instance(path: Path, chunks: Iterable[bytes], max_bytes: int) -> Instance:
    """Write a DICOM file durably, modification time 0; raises RetrievalProblem."""
    stream = iter(chunks)
    head = _head(stream)
    uid, header, start = _fresh_header(head)
    sha, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as file:
        for chunk in _chain(header, head[start:], stream):
            size += len(chunk)
            if size > max_bytes:
                raise RetrievalProblem("too_large")
            sha.update(chunk)
            file.write(chunk)
        os.utime(file.fileno(), (0, 0))
        os.fsync(file.fileno())
    return Instance(uid, sha.hexdigest(), size)


def read_instance(path: Path) -> Instance:
    """The instance of a file that lies there; raises RetrievalProblem where it is none."""
    with path.open("rb") as file:
        uid, _, _ = _fresh_header(file.read(_HEAD_BYTES))
        file.seek(0)
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    return Instance(uid, sha, path.stat().st_size)


def _chain(header: bytes, rest: bytes, stream: Iterator[bytes]) -> Iterator[bytes]:
    yield header
    yield rest
    yield from stream


def _head(stream: Iterator[bytes]) -> bytes:
    head = b""
    while len(head) < _HEAD_BYTES:
        chunk = next(stream, b"")
        if not chunk:
            break
        head += chunk
    return head


def _fresh_header(head: bytes) -> tuple[str, bytes, int]:
    """SOP instance UID, a new file header, and where the data set begins in the old file."""
    if head[128:132] != b"DICM":
        raise RetrievalProblem("unreadable")
    elements, start = _meta_elements(head)
    try:
        sop_class, uid, syntax = (elements[tag].rstrip(b"\0 ").decode("ascii") for tag in _WANTED)
    except (KeyError, UnicodeDecodeError):
        raise RetrievalProblem("unreadable") from None
    if not all(map(is_uid, (sop_class, uid, syntax))):
        raise RetrievalProblem("unreadable")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(syntax), UID(_IMPLEMENTATION)
    meta.FileMetaInformationVersion = b"\0\1"
    stream = DicomBytesIO()
    write_file_meta_info(stream, meta)
    return uid, b"\0" * 128 + b"DICM" + stream.getvalue(), start


_WANTED = (0x0002, 0x0003, 0x0010)  # SOP class, SOP instance and transfer syntax, of group 0002


def _meta_elements(head: bytes) -> tuple[dict[int, bytes], int]:
    """Values of group 0002 by element, always Explicit VR Little Endian; and where it ends."""
    elements, at = {}, 132
    while int.from_bytes(head[at : at + 2], "little") == _META_GROUP:
        element = int.from_bytes(head[at + 2 : at + 4], "little")
        is_long = head[at + 4 : at + 6] in _LONG
        begin = at + (12 if is_long else 8)
        length = int.from_bytes(
            head[begin - 4 : begin] if is_long else head[at + 6 : begin], "little"
        )
        at = begin + length
        if at > len(head):
            raise RetrievalProblem("unreadable")
        elements[element] = head[begin:at]
    return elements, at
