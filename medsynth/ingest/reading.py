"""A reading: one volume with whose it is and what is known of it; and what reading needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.manifest import Provenance
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.index import Frame
from medsynth.ingest.facts.attributes import Facts
from medsynth.ingest.facts.table import Table
from medsynth.ingest.files.bids import BidsLayout
from medsynth.ingest.source import InputFile


@dataclass(frozen=True, eq=False)
class Reading:
    """One volume, our names for it and its subject, and the raw facts about it.

    `files` (relative paths) went into the volume; they are only ever kept as keyed ids.
    """

    files: tuple[str, ...]
    scan_id: str
    subject_id: str
    modality: str
    volume: Volume
    facts: Facts
    flags: tuple[str, ...]
    provenance: Provenance | None = None


@dataclass(frozen=True)
class Context:
    """What reading needs besides the files; it can be pickled and sent to another process."""

    keys: Keys
    config: IngestConfig
    table: Table | None = None
    layout: BidsLayout | None = None

    def image_name(self, file: InputFile) -> str:
        """The file as the table's `image` column spells it."""
        if self.table is None or not file.path.is_relative_to(self.table.folder):
            return ""
        return file.path.relative_to(self.table.folder).as_posix()


def files_of(frames: Sequence[Frame]) -> tuple[str, ...]:
    """The files that these planes come from, each once."""
    return tuple(dict.fromkeys(frame.file.name for frame in frames))
