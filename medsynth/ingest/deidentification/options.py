"""The profile and options of PS3.15 Annex E, and what a run may choose among them."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Option(StrEnum):
    """An option of PS3.15 E.3, by its column in table.csv."""

    SAFE_PRIVATE = "private"
    UIDS = "uids"
    DEVICE_IDENTITY = "device"
    INSTITUTION_IDENTITY = "institution"
    PATIENT_CHARACTERISTICS = "characteristics"
    FULL_DATES = "full_dates"
    MODIFIED_DATES = "modified_dates"
    CLEAN_DESCRIPTORS = "descriptors"
    CLEAN_STRUCTURED_CONTENT = "structured"


BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
OPTION_CODES = {
    Option.CLEAN_STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.MODIFIED_DATES: (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    Option.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.INSTITUTION_IDENTITY: ("113112", "Retain Institution Identity Option"),
}
"""CID 7050. Pixel data and graphics are never cleaned here: 113101 to 113103 are not claimed."""


@dataclass(frozen=True)
class Profile:
    """The basic profile with the options that soften it."""

    options: frozenset[Option] = frozenset()

    def __post_init__(self) -> None:
        if {Option.FULL_DATES, Option.MODIFIED_DATES} <= self.options:
            raise ValueError("dates must be kept full or modified, got both options")

    def has(self, option: Option) -> bool:
        """Whether an option is chosen."""
        return option in self.options

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """(value, meaning) of every method used, in order of value; scheme DCM."""
        return (BASIC_CODE, *sorted(OPTION_CODES[option] for option in self.options))

    @property
    def temporal(self) -> str:
        """Longitudinal Temporal Information Modified (0028,0303)."""
        if self.has(Option.FULL_DATES):
            return "UNMODIFIED"
        return "MODIFIED" if self.has(Option.MODIFIED_DATES) else "REMOVED"


class DeidentifyConfig(BaseModel):
    """Which options soften the basic profile, and which files are not written at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: tuple[Option, ...] = (Option.PATIENT_CHARACTERISTICS,)
    """Options of PS3.15 E.3; the basic profile always holds."""
    secondary_capture: bool = False
    """Whether secondary captures are written; their pixels often show names."""
    localizers: bool = False
    """Whether localizers are written; consoles burn names into them."""
    max_bytes: int = Field(default=1 << 30, ge=1 << 10)
    """Most bytes of one file, inflated."""

    @field_validator("options")
    @classmethod
    def _is_profile(cls, options: tuple[Option, ...]) -> tuple[Option, ...]:
        Profile(frozenset(options))
        return tuple(sorted(set(options)))

    @property
    def profile(self) -> Profile:
        """The profile that the options make."""
        return Profile(frozenset(self.options))
