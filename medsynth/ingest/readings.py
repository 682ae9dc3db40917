"""From input files to readings: what each file is, which belong together, one volume at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from medsynth.core.stage import Progress
from medsynth.ingest.index import Frame, read_frames
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context, Reading
from medsynth.ingest.series import read_series, unwanted
from medsynth.ingest.single import read_single, unwanted_file
from medsynth.ingest.source import Form, InputFile, form_of
from medsynth.ingest.stack import group_frames
from medsynth.ingest.table import Table


@dataclass(frozen=True)
class Reader:
    """Reads input files in one context; what cannot be read goes to quarantine."""

    context: Context
    quarantine: Quarantine
    progress: Progress
    left_out: dict[str, int] = field(default_factory=dict)

    def readings(self, files: Sequence[InputFile]) -> Iterator[Reading]:
        """One volume after the other; only one is in memory at a time."""
        frames: list[Frame] = []
        others: list[tuple[InputFile, Form]] = []
        total = 2 * len(files)
        for number, file in enumerate(files):
            with self.quarantine.guard(file.name, "index", otherwise="bad_element"):
                form = form_of(file)
                if form == "dicom":
                    frames += self._selected(read_frames(file, self.context.config))
                elif self._is_wanted(unwanted_file(file, self.context)):
                    others.append((file, form))
            self.progress(number + 1, total)
        for group in group_frames(frames):
            if reading := read_series(group, self.context, self.quarantine):
                yield reading
        for number, (file, form) in enumerate(others):
            yield from read_single(file, form, self.context, self.quarantine)
            self.progress(total - len(others) + number + 1, total)
        self.progress(total, total)

    def _selected(self, frames: Sequence[Frame]) -> list[Frame]:
        """The planes of one file that the configuration does not leave out."""
        wanted = [f for f in frames if not unwanted(f, self.context.config)]
        if not wanted:
            self._is_wanted(unwanted(frames[0], self.context.config))
        return wanted

    def _is_wanted(self, reason: str) -> bool:
        """Whether there is no reason to leave a file out; one that there is, is counted."""
        if reason:
            self.left_out[reason] = self.left_out.get(reason, 0) + 1
        return not reason


def listed_files(
    files: Sequence[InputFile], table: Table, quarantine: Quarantine
) -> list[InputFile]:
    """The files that the table names; a name without a file below the source is quarantined."""
    by_path = {file.path: file for file in files}
    for path in table.images:
        if path not in by_path:
            quarantine.add(path.as_posix(), "index", "missing_file")
    return [by_path[path] for path in table.images if path in by_path]
