"""Inference: what the cohort tells about one attribute of somebody of whom others are known.

The attacker knows some columns of a target, looks for the synthetic scan nearest in these (Gower,
Biometrics 1971), and guesses that scan's value of the secret. In the first round all other columns
are known, in later ones a random half, until there are as many tries as asked for. A number is
guessed right within a twentieth of the synthetic range, anything else exactly; targets whose secret
is missing have nothing to tell.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from privacy.attacks.attributes.risk import Tries, share_by_subject
from privacy.attacks.attributes.table import MISSING, Column, Table
from privacy.evidence import Interval

TOLERANCE = 0.05  # of the synthetic range; anonymeter's is relative to the guess
_BLOCK = 128  # targets at a time
_MOST_ROUNDS = 100
_EXACT = 1e-9


@dataclass(frozen=True)
class Inferred:
    """All tries, and those at each secret."""

    pooled: Tries
    by_secret: tuple[Tries, ...]

    @property
    def worst(self) -> tuple[Tries, Interval]:
        """The secret given away most surely; its low bound holds for all secrets at once."""
        found = [(tries, tries.risk(len(self.by_secret))) for tries in self.by_secret]
        return max(found, key=lambda pair: pair[1].low)


def infer(
    synthetic: Table, members: Table, controls: Table, num_tries: int, seed: int
) -> Inferred | None:
    """Every attribute in turn is the secret; `None` where the cohort carries none."""
    groups = [members, controls]
    secrets = [
        i for i in synthetic.asked if all(t.columns[i].is_known.any() for t in [synthetic, *groups])
    ]
    if not secrets:
        return None
    per_round = sum(int(controls.columns[i].is_known.sum()) for i in secrets)
    rounds = min(-(-num_tries // per_round), _MOST_ROUNDS)
    rng = np.random.default_rng([seed, 2])
    known = _known_columns(len(synthetic.columns), secrets, rounds, rng)
    hits = [_hits(synthetic, group, secrets, known) for group in groups]
    tries = [np.stack([g.columns[i].is_known for i in secrets]) * float(rounds) for g in groups]
    by_secret = tuple(
        _tries(synthetic.columns[i].name, groups, [h[j] for h in hits], [t[j] for t in tries])
        for j, i in enumerate(secrets)
    )
    pooled = _tries("all", groups, [h.sum(0) for h in hits], [t.sum(0) for t in tries])
    return Inferred(pooled, by_secret)


def _tries(
    name: str,
    groups: list[Table],
    hits: list[Float[np.ndarray, " _"]],
    tries: list[Float[np.ndarray, " _"]],
) -> Tries:
    members, controls = (
        share_by_subject(group.by_subject(h), group.by_subject(t))
        for group, h, t in zip(groups, hits, tries, strict=True)
    )
    return Tries(name, int(tries[1].sum()), members, controls)


def _known_columns(
    num_columns: int, secrets: list[int], rounds: int, rng: np.random.Generator
) -> Bool[np.ndarray, "secrets rounds columns"]:
    """What the attacker knows of the target, in each round, per secret."""
    known = np.ones((len(secrets), rounds, num_columns), bool)
    for secret, of_secret in zip(secrets, known, strict=True):
        others = np.delete(np.arange(num_columns), secret)
        for of_round in of_secret[1:]:
            of_round[rng.permutation(others)[: len(others) // 2]] = False
        of_secret[:, secret] = False
    return known


def _hits(
    synthetic: Table,
    targets: Table,
    secrets: list[int],
    known: Bool[np.ndarray, "secrets rounds columns"],
) -> Float[np.ndarray, "secrets n"]:
    """How many rounds guessed each target's secret right."""
    hits = np.zeros((len(secrets), len(targets.subjects)))
    columns = list(zip(targets.columns, synthetic.columns, strict=True))
    for start in range(0, hits.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        apart = np.stack([_apart(target, other, block) for target, other in columns])
        for j, secret in enumerate(secrets):
            told = synthetic.columns[secret]
            nearest = _nearest(known[j], apart[..., told.is_known])
            truth = targets.columns[secret].values[block]
            slack = TOLERANCE * told.spread if told.is_number else 0.0
            right = np.abs(told.values[told.is_known][nearest] - truth) <= slack + _EXACT
            hits[j, block] = (right & (truth != MISSING)).sum(0)
    return hits


def _nearest(
    known: Bool[np.ndarray, "rounds columns"], apart: Float[np.ndarray, "columns targets other"]
) -> Int[np.ndarray, "rounds targets"]:
    distances = np.einsum("rc,cto->rto", known.astype(np.float32), apart)
    nearest: Int[np.ndarray, "rounds targets"] = distances.argmin(2)
    return nearest


def _apart(
    targets: Column, synthetic: Column, block: slice
) -> Float[np.ndarray, "targets synthetic"]:
    """Gower's distance in one column, 0 to 1; whoever misses a value is near those who miss it."""
    one, other = targets.values[block, None], synthetic.values[None, :]
    known = targets.is_known[block, None] & synthetic.is_known[None, :]
    if targets.flags is not None and synthetic.flags is not None:
        apart = _jaccard(targets.flags[block], synthetic.flags)
    elif targets.is_number:
        difference = np.abs(np.where(known, one, 0.0) - np.where(known, other, 0.0))
        apart = np.minimum(difference / max(synthetic.spread, _EXACT), 1.0)
    else:
        apart = one != other
    return np.where(known, apart, one != other).astype(np.float32)


def _jaccard(
    one: Bool[np.ndarray, "a labels"], other: Bool[np.ndarray, "b labels"]
) -> Float[np.ndarray, "a b"]:
    """Share of labels that only one of the two has."""
    left, right = one.astype(np.float64), other.astype(np.float64)
    shared = left @ right.T
    total = left.sum(1)[:, None] + right.sum(1)[None, :] - shared
    apart: Float[np.ndarray, "a b"] = 1 - shared / np.maximum(total, 1)
    return apart
