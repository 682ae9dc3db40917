"""What a run may change about retrieval; secrets are not among it, they never stand in a file."""

import re
from datetime import date, time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class PacsConfig(BaseModel):
    """Which series of an archive are wanted, and how gently they are fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date_from: date | None = None
    """First StudyDate; `None`: no bound."""
    date_to: date | None = None
    """Last StudyDate; `None`: no bound."""
    last_days: int | None = Field(None, ge=0)
    """Days up to today, in place of date_from and date_to."""
    look_back_days: int = Field(14, ge=0)
    """Days by which the last days reach back behind the latest complete listing: late arrivals."""
    modalities: tuple[str, ...] = ()
    """Modalities wanted, in DICOM's words; empty: every one."""
    description: str = ""
    """Pattern (case ignored) that a series description must contain; matched, never stored."""
    max_studies: int | None = Field(None, ge=1)
    """Most studies; known ones first, then by date. `None`: no bound."""
    settle_polls: int = Field(2, ge=1)
    """Polls in a row that must see the same number of instances in a series."""
    quiet_seconds: float = Field(30.0, ge=0)
    """Seconds for which that number must not have changed."""
    poll_seconds: float = Field(15.0, gt=0)
    """Seconds between two polls of a run."""
    wait_seconds: float = Field(300.0, ge=0)
    """Seconds that a run waits for series to settle; what has not is left to the next run."""
    tries: int = Field(5, ge=1)
    """Failures after which a series is a dead letter."""
    backoff_seconds: float = Field(2.0, ge=0)
    """Seconds before the second try; doubled at each further one, with jitter."""
    max_backoff_seconds: float = Field(120.0, ge=0)
    """Longest wait between two tries of a series, in seconds."""
    instances_per_second: float | None = Field(None, gt=0)
    """Most instances fetched in a second; `None`: no limit."""
    megabytes_per_second: float | None = Field(None, gt=0)
    """Most megabytes (10^6 bytes) fetched in a second; `None`: no limit."""
    night_from: time | None = None
    """Local time from which series may be fetched; `None`: at any time."""
    night_to: time | None = None
    """Local time until which a series may be begun; may lie after midnight."""
    timeout_seconds: float = Field(60.0, gt=0)
    """Longest silence of the archive, in seconds."""
    max_instance_bytes: int = Field(1 << 31, ge=1 << 10)
    """Most bytes of one instance."""
    reconnects: int = Field(2, ge=0)
    """Times that a run begins again when the archive does not answer at all."""
    reconnect_seconds: float = Field(10.0, ge=0)
    """Seconds before the first of these; doubled each time, with jitter."""
    page_size: int = Field(500, ge=1)
    """Entries asked for in one QIDO answer."""
    verify_tls: bool = True
    """Whether the archive's certificate must be signed by an authority that we trust."""
    dimse_retrieve: Literal["get", "move"] = "get"
    """DIMSE's way: C-GET, or C-MOVE to a receiver of ours that the archive must know."""
    listen_host: str = "127.0.0.1"
    """Where that receiver listens."""
    listen_port: int = Field(11112, ge=1, le=65535)
    """Its port."""

    @field_validator("description")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error:
            raise ValueError("description must be a regular expression") from None
        return pattern

    @field_validator("modalities")
    @classmethod
    def _are_code_strings(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[A-Z0-9_]{1,16}", word) for word in words):
            raise ValueError("modalities must be DICOM's words, such as CT or MR")
        return words

    @model_validator(mode="after")
    def _is_consistent(self) -> "PacsConfig":
        if self.last_days is not None and (self.date_from or self.date_to):
            raise ValueError("last_days stands in place of date_from and date_to")
        if self.date_from and self.date_to and self.date_from > self.date_to:
            raise ValueError("date_from must not lie after date_to")
        if (self.night_from is None) != (self.night_to is None):
            raise ValueError("night_from and night_to must be given together")
        return self
