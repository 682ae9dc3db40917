"""What a run may change about ingest."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medsynth.core.schema import Scale
from medsynth.ingest.facts.units import is_known_unit
from medsynth.ingest.files.nifti_config import NiftiConfig
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.sandbox import Limits

_MASK_RULE = re.compile(r"mask:[^#]+(#\d+(,\d+)*|#gray)?")


class AttributeSource(BaseModel):
    """One declared attribute and where its value comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["continuous", "ordinal", "category", "labels", "mask", "text"] = "continuous"
    """Of a text only words of letters that at least `min_subjects` subjects share are ever kept."""
    min_subjects: int = Field(default=11, ge=1)
    """Fewest subjects who share a word of a text."""
    source: str | tuple[str, ...] = ""
    """DICOM keyword, column of the table or "mask:WHERE#LABELS"; empty: the column, else the tag,
    of this name. Several: the first that has a value, missing where two contradict each other. An
    attribute of kind mask needs the latter, or "mask:WHERE#gray" for a sketch."""
    unit: str = ""
    """Unit of a continuous attribute; a source in another known unit is converted."""
    source_unit: str = ""
    """Unit of the table's column where neither its name nor its values nor a sidecar say it."""
    low: float | None = None
    """Smallest value, in `unit`; `None`: what the data show, rounded down."""
    high: float | None = None
    """Largest value, in `unit`; `None`: what the data show, rounded up."""
    values: tuple[str, ...] = ()
    """Values of an ordinal (in order), category or labels; empty: what the data show."""
    words: dict[str, str] = Field(default_factory=dict)
    """Other spellings of values: raw word to value."""
    missing: tuple[str, ...] = ()
    """Further words that mean missing, like "999"; empty, n/a, unknown and - always do."""
    scale: Scale = "linear"
    """Scale of a continuous attribute, linear or log(1 + x)."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources in order of priority."""
        one = (self.source,) if isinstance(self.source, str) else self.source
        return tuple(source for source in one if source)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of a mask in order of their numbers; none for a sketch."""
        ending = self.sources[0].partition("#")[2]
        if ending == "gray":
            return ()
        return tuple(sorted(set(ending.split(",")), key=int)) if ending else ("1",)

    @field_validator("source")
    @classmethod
    def _is_mask_rule(cls, source: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for one in (source,) if isinstance(source, str) else source:
            if one.startswith("mask:") and not _MASK_RULE.fullmatch(one):
                raise ValueError('a mask must be spelled "mask:WHERE" or "mask:WHERE#1,2"')
        return source

    @model_validator(mode="after")
    def _masks_have_masks(self) -> "AttributeSource":
        endings = {source.rpartition("#")[2] for source in self.sources}
        if self.kind == "mask":
            if not self.sources or not all(s.startswith("mask:") for s in self.sources):
                raise ValueError('an attribute of kind mask needs a source "mask:WHERE#LABELS"')
            if len({source.partition("#")[2] for source in self.sources}) > 1:
                raise ValueError("every source of a mask must have the same labels")
            if self.values:
                raise ValueError("the values of a mask are the labels of its source")
        elif "gray" in endings and any(s.startswith("mask:") for s in self.sources):
            raise ValueError("a gray sketch has no volume: the attribute must be of kind mask")
        return self

    @field_validator("source_unit")
    @classmethod
    def _is_unit(cls, unit: str) -> str:
        if unit and not is_known_unit(unit):
            raise ValueError("source_unit must be a unit that can be converted")
        return unit


class IngestConfig(BaseModel):
    """Which files become scans, what is known about them and how much may be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: dict[str, AttributeSource] = Field(default_factory=dict)
    """Declared attributes by name; empty: what the DICOM tags and the table's columns show."""
    join: tuple[str, ...] = ()
    """Columns by which the table joins scans; empty: every known key that the table has."""
    subject: str = ""
    """The table's column that names the subject; empty: patient_id, subject_id and the like."""
    modality: str = "OT"
    """Modality of NIfTI volumes and pictures, which do not say it (DICOM's word)."""
    files: str = ""
    """Pattern that the relative path of a NIfTI file or picture must contain, like "_T1w"."""
    series_description: str = ""
    """Pattern (case ignored) that a DICOM series description must contain; never stored."""
    localizers: bool = False
    """Whether DICOM localizers are scans."""
    min_matrix: int = Field(default=16, ge=1)
    """Fewest pixels on the shorter side of a plane."""
    pixels: PixelChecks = PixelChecks()
    """What is looked for in the pixels: burned-in text and faces."""
    max_bytes: int = Field(default=1 << 29, ge=1 << 10)
    """Most bytes that one file may decode or inflate to."""
    max_volume_bytes: int = Field(default=1 << 31, ge=1 << 10)
    """Most bytes that one volume may have."""
    max_plane_bytes: int = Field(default=1 << 27, ge=1 << 10)
    """Most bytes that one plane may decode to."""
    decode_seconds: float = Field(default=30.0, gt=0)
    """Longest time that one plane may take to decode, s."""

    nifti: NiftiConfig = NiftiConfig()
    """Rules for what a NIfTI header leaves open."""

    @property
    def limits(self) -> Limits:
        """What decoding one plane may take; a codec needs room beside the plane itself."""
        return Limits(self.decode_seconds, 2 * self.max_plane_bytes + (1 << 26))

    @field_validator("series_description", "files")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error:
            raise ValueError("a pattern must be a regular expression") from None
        return pattern
