"""What a run may change about ingest."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from medsynth.core.schema import Scale


class AttributeSource(BaseModel):
    """One declared attribute and where its value comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["continuous", "ordinal", "category", "labels"] = "continuous"
    """Free text is not among the kinds: it never leaves the archive."""
    source: str = ""
    """DICOM keyword or column of the table; empty: the column, else the tag, of this name."""
    unit: str = ""
    """Unit of a continuous attribute."""
    low: float | None = None
    """Smallest value, in `unit`; `None`: what the data show, rounded down."""
    high: float | None = None
    """Largest value, in `unit`; `None`: what the data show, rounded up."""
    values: tuple[str, ...] = ()
    """Values of an ordinal (in order), category or labels; empty: what the data show."""
    words: dict[str, str] = Field(default_factory=dict)
    """Other spellings of values: raw word to value."""
    scale: Scale = "linear"
    """Scale of a continuous attribute, linear or log(1 + x)."""


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
    series_description: str = ""
    """Pattern (case ignored) that a DICOM series description must contain; never stored."""
    localizers: bool = False
    """Whether DICOM localizers are scans."""
    min_matrix: int = Field(default=16, ge=1)
    """Fewest pixels on the shorter side of a plane."""
    max_bytes: int = Field(default=1 << 29, ge=1 << 10)
    """Most bytes that one file may decode or inflate to."""
    max_volume_bytes: int = Field(default=1 << 31, ge=1 << 10)
    """Most bytes that one volume may have."""

    @field_validator("series_description")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error:
            raise ValueError("series_description must be a regular expression") from None
        return pattern
