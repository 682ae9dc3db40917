"""The gates put to the test themselves: what is surely safe must pass, what is harmful must not."""

from collections.abc import Callable

from privacy.evidence import Result, decide
from privacy.gates.term import Key, Term, TermsByRow

Decide = Callable[..., Result]
_STEP = 1e-6  # beyond the limit


def num_sound(terms: TermsByRow, decide: Decide = decide) -> tuple[int, int]:
    """(gates that tell safe from harmful, all gates).

    An inverted gate passes a measurement beyond its limit, so it is not among the first.
    """
    return sum(_is_sound(key, asked, decide) for key, asked in terms.items()), len(terms)


def _is_sound(key: Key, asked: Term, decide: Decide) -> bool:
    """Whether a gate holds just within its limit and not just beyond, by bounds and by estimate.

    What has no bounds, as a p-value, must always lie above.
    """
    inward = _STEP if asked.side == "above" else -_STEP
    by_bounds = [True, False] if asked.side == "above" else [True]
    return all(
        (_decided(key, asked.limit + step, asked, decide, bounds) == "PASS") == (step == inward)
        for bounds in by_bounds
        for step in (inward, -inward)
    )


def _decided(key: Key, measured: float, asked: Term, decide: Decide, has_bounds: bool) -> Result:
    bound = measured if has_bounds else None
    return decide(
        key[0], measured, bound, bound,
        n=asked.minimum, limit=asked.limit, side=asked.side, minimum=asked.minimum,
    )  # fmt: skip
