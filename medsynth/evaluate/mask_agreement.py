"""Agreement of masks: the mask asked for against the one that a segmenter reads off the scan.

The score is Dice, its mean over the labels (a sketch: the correlation of grays). The floor is the
segmenter's score on real held-out scans and their own masks; chance is what it gets against
another scan's mask. Agreement is (score - chance) / (floor - chance).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from medsynth.core.schema import Attribute
from medsynth.evaluate.comparison import Fold
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.segmenter import MaskImages, Segmenter, SegmenterConfig, train_segmenter

FEWEST = 3
Scores = Float[np.ndarray, " n"]


def known_masks(
    fold: Fold, attribute: Attribute, masks: Mapping[str, UInt8[np.ndarray, "i j k"]]
) -> tuple[Fold, MaskImages]:
    """The scans of a fold that have a mask, and their masks."""
    rows = [n for n, s in enumerate(fold.scans) if s.attributes.get(attribute.name) is not None]
    values = [str(fold.scans[n].attributes[attribute.name]) for n in rows]
    shape = fold.images.shape[1:]
    found = np.array([masks[value] for value in values], np.uint8).reshape(len(rows), *shape)
    return Fold(tuple(fold.scans[n] for n in rows), fold.images[rows]), found


def mask_metrics(
    segmenter: Segmenter,
    synthetic: tuple[Fold, MaskImages],
    real: tuple[Fold, MaskImages],
    rng: np.random.Generator,
    *,
    num_draws: int,
) -> dict[str, Metric]:
    """NAME_dice (NAME_r of a sketch) beside its floor, and agreement_NAME."""
    name, score = segmenter.attribute.name, "dice" if segmenter.attribute.values else "r"
    own, chance = _scores(segmenter, *synthetic, rng)
    theirs, their_chance = _scores(segmenter, *real, rng)
    if min(len(own), len(theirs)) < FEWEST:
        return {f"{name}_{score}": Metric(n=len(own)), f"agreement_{name}": Metric(n=len(own))}
    floor, by_chance = float(theirs.mean()), float(chance.mean())
    low, high = _interval(own, synthetic[0], rng, num_draws)
    metric = Metric(float(own.mean()), floor, low, high, len(own))
    real_low, _ = _interval(theirs - their_chance, real[0], rng, num_draws)
    gain_low, gain_high = _interval(own - chance, synthetic[0], rng, num_draws)
    span = floor - by_chance
    if real_low <= 0 or span <= 0 or len(_distinct(synthetic[1])) < 2:
        return {f"{name}_{score}": metric, f"agreement_{name}": Metric(n=len(own))}
    value = (float(own.mean()) - by_chance) / span
    agreement = Metric(value, 1.0, gain_low / span, gain_high / span, len(own))
    return {f"{name}_{score}": metric, f"agreement_{name}": agreement}


def _scores(
    segmenter: Segmenter, fold: Fold, masks: MaskImages, rng: np.random.Generator
) -> tuple[Scores, Scores]:
    """(score of each scan against its mask, against somebody else's)."""
    read, order = segmenter.read(fold.images), rng.permutation(len(masks))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    of = _dice if segmenter.attribute.values else _correlation
    pairs = [(of(a, b), of(a, c)) for a, b, c in zip(read, masks, masks[other], strict=True)]
    both = np.array(pairs, np.float64).reshape(len(pairs), 2)
    return both[:, 0], both[:, 1]


def _dice(one: UInt8[np.ndarray, "i j k"], other: UInt8[np.ndarray, "i j k"]) -> float:
    """Mean over the labels that either has; two empty masks agree."""
    codes = sorted({*np.unique(one).tolist(), *np.unique(other).tolist()} - {0})
    found = [
        2 * ((one == code) & (other == code)).sum() / ((one == code).sum() + (other == code).sum())
        for code in codes
    ]
    return float(np.mean(found)) if found else 1.0


def _correlation(one: UInt8[np.ndarray, "i j k"], other: UInt8[np.ndarray, "i j k"]) -> float:
    x, y = (part.astype(np.float64).ravel() - part.mean() for part in (one, other))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else 0.0


def _interval(
    values: Scores, fold: Fold, rng: np.random.Generator, num_draws: int
) -> tuple[float, float]:
    """95 % interval of a mean, over resampled subjects."""
    subjects = [scan.subject_id for scan in fold.scans]
    _, owners = np.unique(subjects, return_inverse=True)
    sums, counts = np.bincount(owners, values), np.bincount(owners)
    draws = rng.integers(len(sums), size=(num_draws, len(sums)))
    low, high = np.quantile(sums[draws].sum(1) / counts[draws].sum(1), [0.025, 0.975])
    return float(low), float(high)


def _distinct(masks: Shaped[np.ndarray, "n i j k"]) -> set[bytes]:
    return {mask.tobytes() for mask in masks}


def masks_of_training(attribute: Attribute, synthetic: Fold, train: Fold) -> dict[str, Metric]:
    """trained_masks_NAME: the share of scans asked for with exactly a training scan's mask."""
    values = [scan.attributes.get(attribute.name) for scan in synthetic.scans]
    known = {scan.attributes.get(attribute.name) for scan in train.scans} - {None}
    asked = [value for value in values if value is not None]
    if not asked:
        return {}
    share = sum(value in known for value in asked) / len(asked)
    return {f"trained_masks_{attribute.name}": Metric(share, 0.0, n=len(asked))}


def measure_masks(
    attributes: Sequence[Attribute],
    folds: Mapping[str, Fold],
    masks: Mapping[str, UInt8[np.ndarray, "i j k"]],
    config: SegmenterConfig,
    rng: np.random.Generator,
    *,
    seed: int,
    num_draws: int,
    min_known: int,
) -> dict[str, Metric]:
    """Every metric of every mask that was asked for; `folds` are synthetic, train and control."""
    metrics: dict[str, Metric] = {}
    for attribute in (attribute for attribute in attributes if attribute.kind == "mask"):
        known = {name: known_masks(fold, attribute, masks) for name, fold in folds.items()}
        (synthetic, asked), (train, truth) = known["synthetic"], known["train"]
        if not len(asked) or len(truth) < min_known:
            continue
        segmenter = train_segmenter(
            attribute, train.images, truth, config, seed=seed, on_step=lambda step: None
        )
        metrics |= mask_metrics(
            segmenter, (synthetic, asked), known["control"], rng, num_draws=num_draws
        )
        metrics |= masks_of_training(attribute, synthetic, train)
    return metrics
