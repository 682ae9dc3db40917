"""From a plan to requests: an index decides what its scan is asked for.

A plan is a set of margins. `cells` are one margin, `marginals` one for each attribute, a table
that is copied one for each block of trained cells; a plain `where` has a single cell. One term of
each margin makes a group. Groups of fewer than k training subjects get nothing; the others get
whole numbers of scans, and a keyed permutation says which index belongs to which group.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.cells import Bin, Cell, CellTable, draw_value
from medsynth.sample.allocation import Margin, allocate_cells, rake
from medsynth.sample.plan import CellBlock, Plan
from medsynth.sample.terms import Restriction, parse_term, parse_where, write_where

_REQUEST_STREAM, _ORDER_STREAM = 2, 3
"""Philox streams of requests and of their order; the starting noise has another."""
MOST_GROUPS = 5_000
_UNREACHABLE = 1e-6

Parts = tuple[tuple[Mapping[str, Bin], float], ...]
"""Parts of a block's cells that may be drawn from, and their weights."""
Alternatives = Sequence[tuple[Restriction, float]]


@dataclass(frozen=True)
class Group:
    """Scans that share some terms, how many of them there are, and what they are drawn from."""

    terms: Mapping[str, Bin]
    count: int
    blocks: tuple[Parts, ...]

    @property
    def weight(self) -> float:
        """How much of the training fold lies in it, relative to other groups."""
        return float(np.prod([sum(weight for _, weight in parts) for parts in self.blocks]))


@dataclass(frozen=True, eq=False)
class Requests:
    """What every index of a plan is asked for; `planned` are the plan's own terms with counts."""

    schema: AttributeSchema
    steps: Mapping[str, float]
    groups: tuple[Group, ...]
    seed: int
    planned: tuple[tuple[Mapping[str, Bin], int], ...] = ()

    def __getitem__(self, index: int) -> Attributes:
        """The attributes asked for at an index."""
        rng = np.random.Generator(_philox(self.seed, index, _REQUEST_STREAM))
        bins: dict[str, Bin] = {}
        for parts in self.groups[self.group_of(index)].blocks:
            weights = np.array([weight for _, weight in parts])
            bins |= parts[rng.choice(len(parts), p=weights / weights.sum())][0]
        return {
            a.name: draw_value(a, bins.get(a.name), self.steps.get(a.name, 1.0), rng)
            for a in self.schema
        }

    def group_of(self, index: int) -> int:
        """Which group an index belongs to."""
        return int(self._owners[index]) if len(self.groups) > 1 else 0

    @cached_property
    def _owners(self) -> Int[np.ndarray, " count"]:
        counts = [group.count for group in self.groups]
        # Ranks of raw bits: the same on every machine and with every version of numpy.
        ranks = np.argsort(_philox(self.seed, 0, _ORDER_STREAM).random_raw(sum(counts)))
        return np.repeat(np.arange(len(counts)), counts)[ranks]


def _philox(seed: int, index: int, stream: int) -> np.random.Philox:
    return np.random.Philox(key=[seed, index], counter=[0, 0, 0, stream])


def resolve(plan: Plan, schema: AttributeSchema, cells: CellTable, k_min: int) -> Requests:
    """The requests of a plan, from cells of at least k_min training subjects each.

    Raises UsageProblem where what is asked for was never trained, by fewer than k_min subjects,
    or cannot hold together.
    """
    if isinstance(plan.like, str) and plan.like:
        raise ValueError("the table of a plan must be read before its requests are resolved")
    everywhere = parse_where(plan.where, schema, cells)
    margins = _margins(plan, schema, cells)
    spread = frozenset(plan.marginals)
    found: dict[tuple[int, ...], Group] = {}
    for place in _places(margins):
        chosen = [margin[at][0] for margin, at in zip(margins, place, strict=True)]
        restriction = _together([everywhere, *chosen])
        blocks = [reachable(b, schema, restriction, k_min) for b in cells.blocks]
        if all(blocks):
            parts = tuple(spread_evenly(b, spread, schema) for b in blocks)
            found[place] = Group(restriction.terms, plan.count, parts)
    _check_reached(margins, found, k_min, everywhere, cells)
    if margins:
        counts = _counts(margins, found, plan.count)
        found = {place: replace(found[place], count=n) for place, n in counts.items()}
    groups = tuple(group for group in found.values() if group.count)
    return Requests(schema, cells.steps, groups, plan.seed, tuple(_planned(margins, found)))


def _margins(plan: Plan, schema: AttributeSchema, cells: CellTable) -> list[Alternatives]:
    blocks = [plan.cells] if plan.cells else [*plan.like] if isinstance(plan.like, tuple) else []
    if blocks:
        return [_of_cells(block, schema, cells) for block in blocks]
    return [_of_marginal(name, plan, schema, cells) for name in plan.marginals]


def _of_cells(block: CellBlock, schema: AttributeSchema, cells: CellTable) -> Alternatives:
    return [(parse_where(cell.where, schema, cells), cell.weight) for cell in block]


def _of_marginal(name: str, plan: Plan, schema: AttributeSchema, cells: CellTable) -> Alternatives:
    given = plan.marginals[name]
    weights = {given: 1.0} if isinstance(given, str) else given
    if name not in schema.names:
        raise UsageProblem(f"marginals must name one of {', '.join(schema.names) or 'none'}")
    if not weights or not all(0 < w < np.inf for w in weights.values()):
        raise UsageProblem(f"marginals of {name} must have terms with positive weights")
    return [
        (Restriction({name: parse_term(schema[name], term, cells)}), weight)
        for term, weight in weights.items()
    ]


def _places(margins: Sequence[Alternatives]) -> Iterable[tuple[int, ...]]:
    """Every choice of one alternative from each margin."""
    sizes = [len(margin) for margin in margins]
    if np.prod(sizes, dtype=float) > MOST_GROUPS:
        raise UsageProblem(f"a plan must have at most {MOST_GROUPS:,} combinations of its terms")
    return product(*map(range, sizes))


def _together(parts: Sequence[Restriction]) -> Restriction:
    """All terms at once; an attribute may be restricted in one place only."""
    names = [name for part in parts for name in part.terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageProblem(f"{', '.join(twice)} must stand in `where` or in the plan's cells, once")
    return Restriction({name: term for part in parts for name, term in part.terms.items()})


def reachable(
    block: Sequence[Cell], schema: AttributeSchema, restriction: Restriction, k_min: int
) -> Parts:
    """Cells of a block with enough subjects, cut to the restriction, weighted by its share.

    What is left must hold k_min subjects for sure, or nothing is reachable: that they spread
    evenly over a bin is good enough for a weight, and not for a promise.
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
    return tuple(allowed) if fewest >= k_min else ()


def spread_evenly(parts: Parts, names: frozenset[str], schema: AttributeSchema) -> Parts:
    """The parts weighted such that these numbers are spread evenly, on their attribute's scale."""
    margins = [_by_width(parts, name, schema) for name in sorted(names & set(parts[0][0]))]
    margins = [margin for margin in margins if len(margin.shares) > 1]
    if not margins:
        return parts
    before = np.array([weight for _, weight in parts])
    # Empty corners may forbid an even spread of two numbers at once: then it is as even as can be.
    weights, _ = rake(before, margins)
    return tuple(
        (bins, float(weight) * before.sum())
        for (bins, _), weight in zip(parts, weights, strict=True)
        if weight > 0
    )


def _by_width(parts: Parts, name: str, schema: AttributeSchema) -> Margin:
    ranges = sorted({b for bins, _ in parts if isinstance(b := bins[name], tuple)})
    if not ranges:
        return Margin(np.zeros(len(parts), np.int64), np.ones(1))
    edges = np.array(ranges)
    widths = np.diff(np.log1p(edges) if schema[name].scale == "log" else edges)[:, 0]
    terms = np.array([ranges.index(bins[name]) for bins, _ in parts])  # type: ignore[arg-type]
    return Margin(terms, widths / widths.sum())


def _check_reached(
    margins: Sequence[Alternatives],
    found: Mapping[tuple[int, ...], Group],
    k_min: int,
    everywhere: Restriction,
    cells: CellTable,
) -> None:
    """Raise UsageProblem for the first term that too few training subjects share."""
    for axis, margin in enumerate(margins):
        reached = {place[axis] for place in found}
        lost = [restriction for at, (restriction, _) in enumerate(margin) if at not in reached]
        if lost:
            raise _too_few(k_min, lost[0].terms or everywhere.terms, cells)
    if not found:
        raise _too_few(k_min, everywhere.terms, cells)


def _too_few(k_min: int, terms: Mapping[str, Bin], cells: CellTable) -> UsageProblem:
    asked = write_where(terms, cells.steps) or "every attribute"
    return UsageProblem(
        f"fewer than {k_min} training subjects share for sure what is asked by {asked}; "
        "ask for a wider range"
    )


def _counts(
    margins: Sequence[Alternatives], found: Mapping[tuple[int, ...], Group], count: int
) -> dict[tuple[int, ...], int]:
    """How many scans each group gets."""
    wanted = [
        Margin(np.array([place[axis] for place in found]), _scaled([w for _, w in margin]))
        for axis, margin in enumerate(margins)
    ]
    shares, gap = rake(np.array([group.weight for group in found.values()]), wanted)
    if gap > _UNREACHABLE:
        raise UsageProblem(
            "the distributions asked for must hold together; too few training subjects share "
            "some of their combinations"
        )
    return dict(zip(found, allocate_cells(shares, wanted, count).tolist(), strict=True))


def _planned(
    margins: Sequence[Alternatives], found: Mapping[tuple[int, ...], Group]
) -> Iterable[tuple[Mapping[str, Bin], int]]:
    """The terms that the plan names, each with its number of scans."""
    for axis, margin in enumerate(margins):
        for at, (restriction, _) in enumerate(margin):
            yield restriction.terms, sum(g.count for place, g in found.items() if place[axis] == at)


def _scaled(weights: Sequence[float]) -> Float[np.ndarray, " terms"]:
    return np.asarray(np.array(weights) / np.sum(weights))
