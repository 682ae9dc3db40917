"""The inner tenth of the training fold, for early stops and for choosing readers."""

import hashlib
from collections.abc import Iterable


def inner_validation(subjects: Iterable[str]) -> frozenset[str]:
    """The tenth of the training subjects (at least one) that only steers, by hash of their ids."""
    ordered = sorted(set(subjects), key=lambda s: hashlib.sha256(f"inner:{s}".encode()).digest())
    return frozenset(ordered[: max(1, round(len(ordered) / 10))])
