"""The cohort asked for: how many, from which cells of attributes, and how they are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.models.cells import Bin, Cell, CellTable, draw_value

_REQUEST_STREAM = 2
"""Philox stream of requests; the starting noise has another."""


class Plan(BaseModel):
    """A cohort in a few words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(256, ge=1)
    """Scans to draw."""
    seed: int = Field(0, ge=0)
    """Decides, with a scan's index, its request and its noise."""
    guidance: float = Field(1.0, ge=0)
    """Weight of classifier-free guidance; 1 is off."""
    num_steps: int = Field(10, ge=1, le=1000)
    """Steps of the sampler; one network pass each, and one more."""
    where: str = ""
    """Restriction, such as "sex=F age=60..80 lesion=missing"; empty asks for the trained mix."""


@dataclass(frozen=True)
class Restriction:
    """Terms of a `where`: an interval, a word, or None for missing, by attribute name."""

    terms: Mapping[str, Bin]

    def share(self, cell: Cell, attribute: Attribute) -> tuple[float, Bin]:
        """Which part of a cell's bin is left, and that part."""
        where = cell.bins[attribute.name]
        if attribute.name not in self.terms:
            return 1.0, where
        term = self.terms[attribute.name]
        if isinstance(term, tuple) and isinstance(where, tuple):
            low, high = max(term[0], where[0]), min(term[1], where[1])
            return max(0.0, (high - low) / (where[1] - where[0])), (low, high)
        if isinstance(term, str) and isinstance(where, str):
            words = where.split("|") if attribute.kind == "labels" else [where]
            return float(term == where or term in words), where
        return float(term is None and where is None), where


def parse_where(where: str, schema: AttributeSchema, cells: CellTable) -> Restriction:
    """The terms of a restriction; raises UsageProblem, naming the attribute, for what is unseen."""
    terms: dict[str, Bin] = {}
    for term in where.split():
        name, separator, value = term.partition("=")
        if not separator or name not in schema.names or name in terms:
            known = ", ".join(schema.names) or "none"
            raise UsageProblem(f"--where needs terms NAME=VALUE, each attribute of {known} once")
        terms[name] = None if value == "missing" else _parse_term(schema[name], value, cells)
    return Restriction(terms)


def _parse_term(attribute: Attribute, value: str, cells: CellTable) -> Bin:
    name, bins = (
        attribute.name,
        [b for block in cells.blocks for c in block for b in _of(c, attribute)],
    )
    if not attribute.is_numeric:
        words = {word for b in bins if isinstance(b, str) for word in [b, *b.split("|")]}
        if value not in words:
            raise UsageProblem(
                f"{name} must be one of the trained values {', '.join(sorted(words))}"
            )
        return value
    low_text, dots, high_text = value.partition("..")
    try:
        low, high = float(low_text), float(high_text if dots else low_text)
    except ValueError:
        raise UsageProblem(f"{name} must be a number or a range such as 60..80") from None
    edges, step = [edge for b in bins if isinstance(b, tuple) for edge in b], cells.steps[name]
    if not edges or low > high or low < min(edges) or high > max(edges):
        trained = f"{min(edges):g}..{max(edges) - step:g}" if edges else "of no values"
        raise UsageProblem(f"{name} must lie in the trained range {trained}")
    return low, high + step


def _of(cell: Cell, attribute: Attribute) -> list[Bin]:
    return [cell.bins[attribute.name]] if attribute.name in cell.bins else []


@dataclass(frozen=True, eq=False)
class Requests:
    """The cells that may be drawn from, and their weights; an index decides its request."""

    schema: AttributeSchema
    steps: Mapping[str, float]
    blocks: tuple[tuple[tuple[dict[str, Bin], float], ...], ...]
    seed: int

    def __getitem__(self, index: int) -> Attributes:
        """The attributes asked for at an index."""
        bits = np.random.Philox(key=[self.seed, index], counter=[0, 0, 0, _REQUEST_STREAM])
        rng = np.random.Generator(bits)
        bins: dict[str, Bin] = {}
        for block in self.blocks:
            weights = np.array([weight for _, weight in block])
            bins |= block[rng.choice(len(block), p=weights / weights.sum())][0]
        return {
            a.name: draw_value(a, bins[a.name], self.steps.get(a.name, 1.0), rng)
            for a in self.schema
        }


def resolve(plan: Plan, schema: AttributeSchema, cells: CellTable, k_min: int) -> Requests:
    """The requests of a plan, from cells of at least k_min training subjects each.

    Raises UsageProblem where what is asked for was never trained, or by fewer than k_min subjects.
    """
    restriction = parse_where(plan.where, schema, cells)
    blocks = tuple(_allowed(block, schema, restriction, k_min) for block in cells.blocks)
    return Requests(schema, cells.steps, blocks, plan.seed)


def _allowed(
    block: Sequence[Cell], schema: AttributeSchema, restriction: Restriction, k_min: int
) -> tuple[tuple[dict[str, Bin], float], ...]:
    """Cells of a block with enough subjects, cut to the restriction, weighted by its share.

    What is left must hold k_min subjects for sure: that they spread evenly over a bin is good
    enough for a weight, and not for a promise.
    """
    allowed: list[tuple[dict[str, Bin], float]] = []
    fewest = 0
    for cell in block:
        shares = {name: restriction.share(cell, schema[name]) for name in cell.bins}
        parts = {name: where for name, (_, where) in shares.items()}
        weight = cell.count * float(np.prod([share for share, _ in shares.values()]))
        if cell.count >= k_min and weight > 0:
            allowed.append((parts, weight))
            # Not the sum over cells: with several scans somebody may lie in more than one.
            fewest = max(fewest, cell.at_least(parts))
    if fewest < k_min:
        names = [n for n in block[0].bins if n in restriction.terms] or list(block[0].bins)
        raise UsageProblem(
            f"fewer than {k_min} training subjects share for sure what is asked of "
            f"{', '.join(names)}; ask for a wider range"
        )
    return tuple(allowed)
