"""Another scan of the same person, where people were scanned more than once."""

import numpy as np

from privacy.folds import Fold


def part_other_scans(fold: Fold, seed: int) -> tuple[Fold, Fold]:
    """(what stays, one scan of each person who keeps another).

    A screen that knows only what stays should still say whose the second are.
    """
    order = np.random.default_rng(seed).permutation(len(fold.subjects))
    subjects, first = np.unique(fold.subjects[order], return_index=True)
    counts = np.array([(fold.subjects == subject).sum() for subject in subjects])
    taken = np.sort(order[first[counts > 1]])
    stays = np.setdiff1d(np.arange(len(fold.subjects)), taken)
    return _part(fold, stays), _part(fold, taken)


def _part(fold: Fold, positions: np.ndarray) -> Fold:
    attributes = tuple(fold.attributes[p] for p in positions.tolist()) if fold.attributes else ()
    return Fold(fold.volumes[positions], fold.subjects[positions], attributes)
