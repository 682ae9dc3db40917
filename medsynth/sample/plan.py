"""The cohort asked for: how many, from which cells of attributes, and how they are drawn."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsynth.core.digest import json_digest
from medsynth.models.sampler import Method

Weights = Mapping[str, float]
"""A weight for each term of an attribute; weights are relative."""


class PlannedCell(BaseModel):
    """Some of the scans asked for: what they share, and how many they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str = ""
    """What these scans share, such as "sex=F age=60..80"."""
    count: int | None = Field(default=None, ge=1)
    """How many; scaled where the plan's own count differs from the sum."""
    share: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Which part of the plan's count, relative to the other cells' shares."""

    @model_validator(mode="after")
    def _has_one_size(self) -> "PlannedCell":
        if (self.count is None) == (self.share is None):
            raise ValueError("a cell must have either a count or a share")
        return self

    @property
    def weight(self) -> float:
        """The count or the share."""
        return float(self.share or self.count or 0)


CellBlock = tuple[PlannedCell, ...]


class Plan(BaseModel):
    """A cohort in a few words; of `cells`, `marginals` and `like` at most one is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(256, ge=1)
    """Scans to draw; where cells have counts, their sum if it is not given."""
    seed: int = Field(0, ge=0)
    """Decides, with a scan's index, its request and its noise."""
    guidance: float = Field(1.0, ge=0)
    """Weight of classifier-free guidance; 1 is off."""
    guidance_by: Weights = Field(default_factory=dict)
    """Other weights, by attribute; each further weight costs a network pass."""
    guidance_interval: tuple[float, float] = (0.1, 0.9)
    """Times between which there is guidance, from 0 (image) to 1 (noise)."""
    guidance_rescale: float = Field(0.0, ge=0, le=1)
    """How far guided outputs get back the spread of those without guidance."""
    negative: Mapping[str, float | str] = Field(default_factory=dict)
    """What guidance moves away from, in place of nothing asked."""
    method: Method | None = None
    """Rule of the sampler; if not given, the one that suits the generator."""
    num_steps: int = Field(10, ge=1, le=1000)
    """Steps of the sampler; one network pass each, and one more (heun: two each)."""
    threads: int = Field(1, ge=1)
    """CPU threads of the network; part of what a seed reproduces, as the last bits follow it."""
    where: str = ""
    """Restriction of every scan, such as "sex=F age=60..80 lesion=missing"; what it leaves open
    follows the trained mix."""
    cells: CellBlock = ()
    """A joint distribution: cells with their counts or shares."""
    marginals: Mapping[str, str | Weights] = Field(default_factory=dict)
    """A distribution for each attribute named: a term, or terms with weights; numbers are spread
    evenly over a range. How attributes hang together stays as trained."""
    like: str | tuple[CellBlock, ...] = ""
    """A table (CSV or TSV) whose joint distribution is copied; once read, its cells."""

    @model_validator(mode="before")
    @classmethod
    def _counts_its_cells(cls, fields: Any) -> Any:
        cells = fields.get("cells") if isinstance(fields, dict) else None
        if not cells or "count" in fields:
            return fields
        read = [PlannedCell.model_validate(cell) for cell in cells]
        if all(cell.count is not None for cell in read):
            return {**fields, "count": sum(cell.count or 0 for cell in read)}
        return fields

    @model_validator(mode="after")
    def _has_one_distribution(self) -> "Plan":
        if sum(map(bool, (self.cells, self.marginals, self.like))) > 1:
            raise ValueError("give one of cells, marginals and like, not several")
        if len({cell.share is None for cell in self.cells}) > 1:
            raise ValueError("cells must all have a count, or all have a share")
        if isinstance(self.like, tuple) and not all(self.like):
            raise ValueError("a block of cells must not be empty")
        return self

    @property
    def series(self) -> int:
        """A number that plans share where one index means one scan, but for its last bits.

        With `where` alone the count does not matter; cells, marginals and a table are dealt out
        over all of the count.
        """
        is_dealt = bool(self.cells or self.marginals or self.like)
        left_out = {"threads"} if is_dealt else {"threads", "count"}
        fields = self.model_dump(mode="json", exclude=left_out)
        return int(json_digest(fields)[:12], 16)
