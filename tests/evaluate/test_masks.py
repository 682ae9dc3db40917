"""Masks are read back: a generator that follows them agrees, one that does not is reported."""

import numpy as np
import pytest

from medsynth.core.manifest import Scan
from medsynth.core.masks import mask_digest
from medsynth.core.schema import Attribute
from medsynth.evaluate.comparison import Fold
from medsynth.evaluate.mask_agreement import measure_masks
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.obedience import disobedience_words, obedience
from medsynth.evaluate.segmenter import SegmenterConfig

LABELS = Attribute("part", "mask", values=("1", "2"))
SKETCH = Attribute("lines", "mask")
SHAPES = [(24, 20, 1), (12, 15, 9)]


def blobs(rng, shape, count, attribute):
    """Scans that show their mask: two boxes of different brightness, or the grays themselves."""
    images, masks = np.empty((count, *shape), np.float32), np.zeros((count, *shape), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        for code in (1, 2):
            corner = [int(rng.integers(0, max(1, side - 5))) for side in shape]
            mask[tuple(slice(c, c + 6) for c in corner)] = code if attribute.values else 110 * code
        shown = mask / 2 if attribute.values else mask / 255
        image[:] = 0.2 + 0.6 * shown + 0.05 * rng.standard_normal(shape)
    return images, masks


def fold_of(images, masks, attribute, name, known):
    """Scans in memory, whose attribute names these masks."""
    digests = [mask_digest(mask) for mask in masks]
    known.update(zip(digests, masks, strict=True))
    shape = images.shape[1:]
    scans = tuple(
        Scan(f"{name}-{n}", f"{name}-{n}", "", "00", "MR", shape, tuple(np.eye(4).ravel()),
             "float32", attributes={attribute.name: digest})
        for n, digest in enumerate(digests)
    )  # fmt: skip
    return Fold(scans, images)


def measured(rng, shape, attribute, *, obeys, copies=False):
    known = {}
    folds = {
        name: fold_of(*blobs(rng, shape, count, attribute), attribute, name, known)
        for name, count in [("train", 40), ("control", 16)]
    }
    images, masks = blobs(rng, shape, 16, attribute)
    if not obeys:
        _, masks = blobs(rng, shape, 16, attribute)
    folds["synthetic"] = fold_of(images, masks, attribute, "syn", known)
    if copies:
        folds["synthetic"] = Fold(folds["train"].scans[:16], folds["train"].images[:16])
    metrics = measure_masks(
        (Attribute("age", "continuous"), attribute), folds, known,
        SegmenterConfig(num_steps=60, width=8, batch_voxels=1 << 12), rng,
        seed=0, num_draws=100, min_known=20,
    )  # fmt: skip
    return metrics | obedience(metrics, 0.5)


@pytest.mark.parametrize("attribute", [LABELS, SKETCH], ids=["labels", "sketch"])
@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
def test_a_generator_that_follows_its_masks_agrees_as_real_scans_do(rng, shape, attribute):
    metrics = measured(rng, shape, attribute, obeys=True)
    agreement = metrics[f"agreement_{attribute.name}"]
    assert agreement.low < 1.05
    assert agreement.high > 0.95
    assert agreement.low > 0.7
    score = metrics["part_dice" if attribute.values else "lines_r"]
    assert score.floor > 0.7
    assert score.low <= score.value <= score.high
    assert metrics[f"trained_masks_{attribute.name}"].value == 0
    assert disobedience_words(metrics) == []


@pytest.mark.parametrize("attribute", [LABELS, SKETCH], ids=["labels", "sketch"])
def test_a_generator_that_ignores_its_masks_is_reported(rng, attribute):
    metrics = measured(rng, SHAPES[0], attribute, obeys=False)
    assert metrics[f"obeyed_{attribute.name}"].value == 0
    assert f"{attribute.name}: not obeyed" in disobedience_words(metrics)[0]


def test_masks_of_training_subjects_are_counted(rng):
    metrics = measured(rng, SHAPES[0], LABELS, obeys=True, copies=True)
    assert metrics["trained_masks_part"] == Metric(1.0, 0.0, n=16)


def test_masks_that_nobody_asked_for_are_not_measured(rng):
    known = {}
    real = fold_of(*blobs(rng, SHAPES[0], 24, LABELS), LABELS, "train", known)
    scans = tuple(
        type(scan)(**(vars(scan) | {"attributes": {"part": None}})) for scan in real.scans
    )
    folds = {"train": real, "control": real, "synthetic": Fold(scans, real.images)}
    config = SegmenterConfig(num_steps=1)
    assert not measure_masks(
        (LABELS,), folds, known, config, rng, seed=0, num_draws=9, min_known=20
    )
