"""Attributes: what is known about a scan, and what a synthetic one can be asked for.

Needs the standard library alone: the networks' room imports it on bare GPU machines.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

AttributeKind = Literal["continuous", "ordinal", "category", "labels", "text", "mask"]
Scale = Literal["linear", "log"]
AttributeValue = float | str | None
Attributes = Mapping[str, AttributeValue]

_DIGEST = re.compile(r"[0-9a-f]{64}")
MISSING_WORDS = frozenset({"", "n/a", "na", "nan", "none", "null", "unknown", "-", "?"})


@dataclass(frozen=True)
class Attribute:
    """One declared attribute.

    `low` and `high` bound a continuous attribute, in `unit`, on a linear or log(1 + x) `scale`;
    `values` lists what an ordinal (in order), category or labels attribute can be, or the labels
    of a mask; a mask without any is a sketch in grays. Several labels at once are written "A|B";
    a mask is its digest (core.masks). Missing is `None`, never a value.
    """

    name: str
    kind: AttributeKind
    unit: str = ""
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        if self.kind not in get_args(AttributeKind):
            kinds = ", ".join(get_args(AttributeKind))
            raise ValueError(f"attribute kind must be one of {kinds}, got {self.kind!r}")
        if not self.name.isidentifier():
            raise ValueError(f"attribute name must be an identifier, got {self.name!r}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"{self.name}: low must not exceed high, got {self.low} and {self.high}"
            )

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers."""
        return self.kind == "continuous"

    def parse(self, raw: object) -> AttributeValue:
        """The normal form of a raw value; `None` where it is missing.

        Raises ValueError, naming the attribute and never the value, where the value is outside
        the declared range or list.
        """
        if raw is None or (isinstance(raw, float) and math.isnan(raw)):
            return None
        text = str(raw).strip()
        if text.lower() in MISSING_WORDS:
            return None
        return self._parse_number(text) if self.is_numeric else self._parse_words(text)

    def _parse_number(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{self.name} must be a number") from None
        below = self.low is not None and value < self.low
        above = self.high is not None and value > self.high
        if below or above or not math.isfinite(value):
            raise ValueError(
                f"{self.name} must lie in [{self.low}, {self.high}] {self.unit}".strip()
            )
        return value

    def _parse_words(self, text: str) -> str:
        if self.kind == "text":
            return text
        if self.kind == "mask":
            if not _DIGEST.fullmatch(text):
                raise ValueError(f"{self.name} must be the digest of a mask")
            return text
        words = text.split("|") if self.kind == "labels" else [text]
        if self.values and not set(words) <= set(self.values):
            raise ValueError(f"{self.name} must be one of {', '.join(self.values)}")
        return "|".join(sorted(set(words)))


@dataclass(frozen=True)
class AttributeSchema:
    """The attributes of a data set, in a fixed order."""

    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"attribute names must be unique, got {self.names}")

    @property
    def names(self) -> tuple[str, ...]:
        """Attribute names, in order."""
        return tuple(attribute.name for attribute in self.attributes)

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.attributes)

    def __len__(self) -> int:
        return len(self.attributes)

    def __getitem__(self, name: str) -> Attribute:
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise KeyError(f"no attribute {name!r}; declared: {', '.join(self.names) or 'none'}")

    def parse(self, raw: Mapping[str, object]) -> dict[str, AttributeValue]:
        """Every declared attribute of one scan in its normal form; undeclared ones are refused."""
        for name in raw:
            self[name]
        return {attribute.name: attribute.parse(raw.get(attribute.name)) for attribute in self}

    def to_json(self) -> str:
        """The schema as one line of JSON."""
        return json.dumps([asdict(attribute) for attribute in self.attributes], sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "AttributeSchema":
        """The schema that `to_json` wrote."""
        rows = json.loads(text)
        return cls(tuple(Attribute(**row | {"values": tuple(row["values"])}) for row in rows))
