"""From input files to volumes in the stage folder, in chunks, whoever the workers are.

Answers are taken in the order of the files, so that the same archive gives the same stage folder
with any workers. A file that nobody survives is refused, and nothing else is.
"""

import shutil
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medsynth.core.manifest import Scan
from medsynth.core.stage import Progress
from medsynth.ingest.chunks import alone, answers, by_count, by_size
from medsynth.ingest.dicom.index import Frame
from medsynth.ingest.dicom.stack import group_frames
from medsynth.ingest.facts.attributes import Facts
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context
from medsynth.ingest.readings import Batch, Finder, Found, Piece, Prober, Stored, Storer
from medsynth.ingest.source import Form, InputFile
from medsynth.ingest.workers import Workers

_FILES = 128  # headers of one chunk: a tenth of a second
_PIECES, _BYTES = 32, 1 << 26  # volumes of one chunk: below a second if native, some if not


@dataclass
class Collection:
    """The volumes of an archive as they come in, and what became of every file.

    `left_out` counts files by reason, `read` names the files of stored volumes;
    `digests` are those of the volumes' files, by path.
    """

    context: Context
    workers: Workers
    progress: Progress
    quarantine: Quarantine
    left_out: Counter[str] = field(default_factory=Counter)
    read: set[str] = field(default_factory=set)
    scans: dict[str, tuple[Scan, Facts]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    _voxels: set[tuple[str, str]] = field(default_factory=set)

    def collect(self, files: Sequence[InputFile], folder: Path) -> None:
        """Store every volume of these files below `folder`; what a killed run left goes first."""
        arriving, volumes = folder / "arriving", folder / "volumes"
        for place in (arriving, volumes):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        self._store(self.find(files), Storer(self.context, arriving), folder, len(files))
        shutil.rmtree(arriving)
        self.progress(2 * len(files), 2 * len(files))

    def find(self, files: Sequence[InputFile]) -> deque[Piece]:
        """The pieces to read: volumes of planes first, then the other files."""
        frames, others, done = list[Frame](), list[tuple[InputFile, Form]](), 0
        chunks = by_count(files, _FILES)
        for count, found in answers(self.workers, Finder(self.context), chunks, self._deadly):
            frames += found.frames
            others += found.others
            self.left_out.update(found.left_out)
            self.quarantine.extend(found.refused)
            self.progress(done := done + count, 2 * len(files))
        groups = group_frames(frames)
        pieces = deque(Piece(number, group) for number, group in enumerate(groups))
        pieces.extend(Piece(len(groups) + n, other=other) for n, other in enumerate(others))
        return pieces

    def _deadly(self, file: InputFile) -> Found:
        """A file over whose header a worker died."""
        self.quarantine.add(file.name, "index", "crashed")
        return Found()

    def _store(self, pieces: deque[Piece], storer: Storer, folder: Path, num_files: int) -> None:
        done, total = 0, len(pieces)
        chunks = by_size(pieces, lambda piece: piece.num_bytes, most=_BYTES, most_items=_PIECES)
        for count, batch in answers(
            self.workers, storer, chunks, lambda piece: self._survivors(piece, storer)
        ):
            self.quarantine.extend(batch.refused)
            for stored in batch.stored:
                self._keep(stored, folder)
            done += count
            self.progress(num_files + num_files * done // total, 2 * num_files)

    def _survivors(self, piece: Piece, storer: Storer) -> Batch:
        """What is left of a piece over which a worker died, without the files that killed it."""
        by_file: dict[str, list[Frame]] = {}
        for frame in piece.frames:
            by_file.setdefault(frame.file.name, []).append(frame)
        prober = Prober(self.context)
        alive = [alone(self.workers, prober, own) for own in by_file.values()]
        rest = [
            frame for ok, own in zip(alive, by_file.values(), strict=True) if ok for frame in own
        ]
        if 0 < len(rest) < len(piece.frames):
            smaller = replace(piece, frames=rest, num_lost=alive.count(None))
            batch = alone(self.workers, storer, [smaller])
            if batch is not None:
                self._refuse([name for name, ok in zip(by_file, alive, strict=True) if not ok])
                return batch
        self._refuse(list(by_file) or [piece.name])
        return Batch()

    def _refuse(self, names: Sequence[str]) -> None:
        for name in names:
            self.quarantine.add(name, "decode", "crashed")

    def _keep(self, stored: Stored, folder: Path) -> None:
        """Give a volume its place; the same voxels of the same subject again are a duplicate."""
        scan = stored.scan
        if scan.scan_id in self.scans:
            self.quarantine.add(stored.files, "store", "duplicate_conflict")
        elif (scan.subject_id, scan.digest) in self._voxels:
            self.quarantine.add(stored.files, "store", "duplicate")
        else:
            (stored.place / scan.path).rename(folder / scan.path)
            self.scans[scan.scan_id] = scan, stored.facts
            self.digests[scan.path] = stored.file_digest
            self._voxels.add((scan.subject_id, scan.digest))
            self.read.update(stored.files)
        shutil.rmtree(stored.place)
