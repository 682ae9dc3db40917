"""What a worker does: find the images among some files, and store the volumes of some images.

Both run in any process; all that they take and give can be pickled, and voxels go to the stage
folder at once, so that they never travel and only one volume is in memory at a time.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from medsynth.core.digest import file_digest, scan_digest
from medsynth.core.geometry import Volume, write_volume
from medsynth.core.manifest import Scan, scan_of, volume_path
from medsynth.core.threads import beside
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.decode import decode_frames
from medsynth.ingest.dicom.index import Frame, read_frames
from medsynth.ingest.dicom.series import read_series, unwanted
from medsynth.ingest.facts.attributes import Facts
from medsynth.ingest.files.single import outside_layout, read_single, unwanted_file
from medsynth.ingest.hush import hushed
from medsynth.ingest.pixels.check import check_pixels
from medsynth.ingest.quarantine import Quarantine, Refusal
from medsynth.ingest.reading import Context, Reading
from medsynth.ingest.source import Form, InputFile, form_of


@dataclass(frozen=True)
class Found:
    """What lies in a chunk of files: planes, other images, files refused and left out."""

    frames: Sequence[Frame] = ()
    others: Sequence[tuple[InputFile, Form]] = ()
    refused: Sequence[Refusal] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """What is read together: the planes of one volume, or one file of another form.

    `number` names it within one ingest; `num_lost` of its files were refused before.
    """

    number: int
    frames: Sequence[Frame] = ()
    other: tuple[InputFile, Form] | None = None
    num_lost: int = 0

    @property
    def name(self) -> str:
        """The first file's name."""
        return self.other[0].name if self.other else self.frames[0].file.name

    @property
    def num_bytes(self) -> int:
        """About how many bytes are read."""
        if self.other:
            return self.other[0].size
        return sum(2 * frame.shape[0] * frame.shape[1] for frame in self.frames)


@dataclass(frozen=True)
class Stored:
    """A volume that was written below `place`, and what is known of it."""

    files: tuple[str, ...]
    place: Path
    scan: Scan
    facts: Facts
    file_digest: str


@dataclass(frozen=True)
class Batch:
    """What became of a chunk of pieces."""

    stored: Sequence[Stored] = ()
    refused: Sequence[Refusal] = ()


@dataclass(frozen=True)
class Finder:
    """Reads the headers of a chunk of files."""

    context: Context

    def __call__(self, files: Sequence[InputFile]) -> Found:
        """The images among these files."""
        quarantine = Quarantine(self.context.keys)
        frames: list[Frame] = []
        others: list[tuple[InputFile, Form]] = []
        left_out: Counter[str] = Counter()
        with hushed():
            for file in files:
                with quarantine.guard(file.name, "index", otherwise="bad_element"):
                    if reason := outside_layout(file, self.context):
                        left_out[reason] += 1
                        continue
                    form = form_of(file)
                    if form == "dicom":
                        wanted, reason = _selected(file, self.context.config)
                        frames += wanted
                    elif not (reason := unwanted_file(file, self.context)):
                        others.append((file, form))
                    left_out[reason] += 1
        del left_out[""]
        return Found(frames, others, quarantine.refusals, left_out)


def _selected(file: InputFile, config: IngestConfig) -> tuple[list[Frame], str]:
    """(the planes of a file that are wanted, why there is none)."""
    frames = read_frames(file, config)
    wanted = [frame for frame in frames if not unwanted(frame, config)]
    return wanted, "" if wanted else unwanted(frames[0], config)


@dataclass(frozen=True)
class Storer:
    """Reads a chunk of pieces and writes their volumes below `arriving`."""

    context: Context
    arriving: Path

    def __call__(self, pieces: Sequence[Piece]) -> Batch:
        """The volumes of these pieces."""
        quarantine, stored = Quarantine(self.context.keys), list[Stored]()
        with hushed():
            for piece in pieces:
                for number, reading in enumerate(self._readings(piece, quarantine)):
                    place = self.arriving / f"{piece.number}-{number}"
                    with quarantine.guard(reading.files, "store", otherwise="store_failed"):
                        stored.append(self._stored(place, reading))
        return Batch(stored, quarantine.refusals)

    def _readings(self, piece: Piece, quarantine: Quarantine) -> Iterable[Reading]:
        if piece.other:
            return read_single(*piece.other, self.context, quarantine)
        reading = read_series(piece.frames, self.context, quarantine)
        if reading and piece.num_lost:
            flags = dict.fromkeys((*reading.flags, "files_quarantined"))
            reading = replace(reading, flags=tuple(flags))
        return [reading] if reading else []

    def _stored(self, place: Path, reading: Reading) -> Stored:
        """The volume checked and written, both at once, for checks change or refuse few."""
        try:
            with beside(partial(_written, place), reading) as written:
                digest = _digest_of(reading.volume)
                checked = self._checked(reading)
                if checked.volume is reading.volume:
                    return _described(place, checked, digest, written())
        except Exception:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return _described(place, checked, _digest_of(checked.volume), _written(place, checked))

    def _checked(self, reading: Reading) -> Reading:
        """The reading without what its pixels must not show: text, a face."""
        volume, flags = check_pixels(
            reading.volume,
            reading.flags,
            modality=reading.modality,
            config=self.context.config.pixels,
            plane_axis=reading.provenance.plane_axis if reading.provenance else None,
        )
        return replace(reading, volume=volume, flags=flags)


def _digest_of(volume: Volume) -> str:
    return scan_digest(volume.array[0], volume.geometry.affine)


def _written(place: Path, reading: Reading) -> str:
    """Write the volume; returns the digest of its file."""
    path = volume_path(place, reading.scan_id)
    write_volume(path, reading.volume)
    return file_digest(path)


def _described(place: Path, reading: Reading, digest: str, written: str) -> Stored:
    scan = scan_of(
        reading.volume,
        digest=digest,
        scan_id=reading.scan_id,
        subject_id=reading.subject_id,
        modality=reading.modality,
        attributes={},
        flags=reading.flags,
        provenance=reading.provenance,
    )
    # The planes of a series share their tags: once is enough.
    tags = list({id(tags): tags for tags in reading.facts.tags}.values())
    facts = replace(reading.facts, tags=tags)
    return Stored(reading.files, place, scan, facts, written)


@dataclass(frozen=True)
class Prober:
    """Decodes planes and keeps nothing: who dies over it has found the file to blame."""

    context: Context

    def __call__(self, frames: Sequence[Frame]) -> bool:
        """Whether this process still lives."""
        quarantine = Quarantine(self.context.keys)
        with hushed():
            decode_frames(
                frames,
                self.context.config,
                lambda f: quarantine.guard(f.file.name, "decode", otherwise="decode_failed"),
            )
        return True
