"""Attributes measured in masks: the volume of labels in a file that a rule finds for each scan.

A source "mask:WHERE#LABELS" names it. WHERE is a column of the table that holds paths, or a path
below the source with {folder}, {stem}, {subject} or {session} of the scan in it; LABELS are whole
numbers ("1,2"), none: every voxel that is not 0. A scan without a mask has no value.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.facts.attributes import MASK, UNREADABLE
from medsynth.ingest.facts.table import Row, Table
from medsynth.ingest.files.nifti import read_header, read_volumes
from medsynth.ingest.source import InputFile

GRAY = "gray"
_PLACES = ("folder", "stem", "subject", "session")
_EXTENSION = re.compile(r"(\.nii)?\.[A-Za-z0-9]+$")
_WHOLE = 1e-3  # how far a label stored as a float may be from a whole number


@dataclass(frozen=True)
class MaskRule:
    """Where the mask of a scan lies, and which of its labels count; none: all but 0.

    A gray one ("#gray") has no labels: it is a sketch, for attributes of kind mask alone.
    """

    where: str
    labels: frozenset[int]
    is_gray: bool = False

    @classmethod
    def parse(cls, source: str) -> "MaskRule":
        """The rule that a source spells; raises ValueError."""
        where, _, labels = source.removeprefix(MASK).partition("#")
        if labels == GRAY:
            return cls(where, frozenset(), is_gray=True)
        return cls(where, frozenset(int(label) for label in labels.split(",") if label))

    @property
    def is_pattern(self) -> bool:
        """Whether WHERE is a path and no column."""
        return "{" in self.where

    def matches(self, name: str) -> bool:
        """Whether a file could be a mask by its path."""
        parts = re.split(r"\{(?:" + "|".join(_PLACES) + r")\}", self.where)
        return self.is_pattern and bool(re.fullmatch(".*".join(map(re.escape, parts)), name))


def mask_sources(
    config: IngestConfig, kinds: tuple[str, ...] = ("continuous", "mask")
) -> tuple[str, ...]:
    """The declared sources that are masks, of attributes of these kinds."""
    declared = (attribute for attribute in config.attributes.values() if attribute.kind in kinds)
    sources = (source for attribute in declared for source in attribute.sources)
    return tuple(source for source in sources if source.startswith(MASK))


def is_mask(file: InputFile, config: IngestConfig, table: Table | None) -> bool:
    """Whether a file is a mask by a rule of the configuration, and so no scan."""
    for rule in map(MaskRule.parse, mask_sources(config)):
        if rule.matches(file.name):
            return True
        if table is not None and file.path in table.files_in(rule.where):
            return True
    return False


def measured_masks(
    file: InputFile,
    config: IngestConfig,
    table: Table | None,
    rows: Sequence[Row],
    names: Mapping[str, str],
) -> dict[str, str]:
    """Source to volume (mm3, as text) of the masks of one scan; `file` is one of its files.

    `names` are its subject and session. A mask must be a plain file below the source, whose digest
    covers it.
    """
    root = Path(file.path.as_posix().removesuffix(file.name))
    found: dict[str, str] = {}
    for source in mask_sources(config, kinds=("continuous",)):
        rule = MaskRule.parse(source)
        paths = _paths(rule, file, root, table, rows, names)
        if paths:
            found[source] = _measured(paths, rule, root, config)
    return found


def found_masks(
    file: InputFile,
    config: IngestConfig,
    table: Table | None,
    rows: Sequence[Row],
    names: Mapping[str, str],
) -> dict[str, tuple[InputFile, ...]]:
    """Source to the files of one scan's masks, for attributes that are masks themselves.

    A file that is no plain one below the source is left out.
    """
    root = Path(file.path.as_posix().removesuffix(file.name))
    found: dict[str, tuple[InputFile, ...]] = {}
    for source in mask_sources(config, kinds=("mask",)):
        if paths := _paths(MaskRule.parse(source), file, root, table, rows, names):
            found[source] = tuple(_files(sorted(paths), root))
    return found


def _files(paths: Sequence[Path], root: Path) -> Iterator[InputFile]:
    for path in paths:
        with suppress(UnreadableScan, OSError):
            yield _inside(path, root)


def _paths(
    rule: MaskRule,
    file: InputFile,
    root: Path,
    table: Table | None,
    rows: Sequence[Row],
    names: Mapping[str, str],
) -> set[Path]:
    """Where the masks should lie; none where nothing names one or a pattern's file is not there."""
    if not rule.is_pattern:
        cells = {row.get(rule.where, "").strip() for row in rows}
        return {table.folder / cell for cell in cells if cell} if table else set()
    folder, _, last = file.name.rpartition("/")
    values = {"folder": folder, "stem": _EXTENSION.sub("", last), **names}
    if any(f"{{{place}}}" in rule.where and not values.get(place) for place in _PLACES):
        return set()
    text = rule.where
    for place, value in values.items():
        text = text.replace(f"{{{place}}}", value)
    path = root / text
    return {path} if path.is_file() else set()


def _measured(paths: set[Path], rule: MaskRule, root: Path, config: IngestConfig) -> str:
    """The volume as text; a word that is no number where a mask cannot be read."""
    try:
        volumes = {mask_volume(_inside(path, root), rule.labels, config) for path in paths}
    except (UnreadableScan, OSError):
        return UNREADABLE
    return f"{volumes.pop():.10g}" if len(volumes) == 1 else UNREADABLE


def _inside(path: Path, root: Path) -> InputFile:
    """A plain file below the root that no link leads to; raises UnreadableScan."""
    above = root.resolve()
    place = path.resolve()
    if not place.is_relative_to(above) or not path.is_file():
        raise UnreadableScan("missing_file")
    name = place.relative_to(above).as_posix()
    if (above / name) != above.joinpath(path.absolute().relative_to(root.absolute())):
        raise UnreadableScan("missing_file")
    stat = place.stat()
    return InputFile(place, name, stat.st_size, stat.st_mtime_ns)


def whole_labels(voxels: Shaped[np.ndarray, "*any"]) -> Shaped[np.ndarray, "*any"]:
    """Voxels as labels; raises UnreadableScan where they are no whole numbers."""
    if voxels.dtype.kind != "f":
        return voxels
    whole: Shaped[np.ndarray, "*any"] = np.rint(voxels)
    if float(np.abs(whole - voxels).max()) > _WHOLE:
        raise UnreadableScan("no_mask")
    return whole


def mask_volume(file: InputFile, labels: frozenset[int], config: IngestConfig) -> float:
    """Volume of the voxels with these labels, mm3; raises UnreadableScan where it is no mask."""
    header = read_header(file, config)
    found = list(read_volumes(file, header, config))
    if len(found) != 1:
        raise UnreadableScan("multi_volume")
    voxels = whole_labels(found[0].volume.array[0])
    chosen = np.isin(voxels, sorted(labels)) if labels else voxels != 0
    volume_mm3 = abs(float(np.linalg.det(header.affine[:3, :3])))
    return round(int(chosen.sum()) * volume_mm3, 6)
