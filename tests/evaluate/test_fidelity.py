import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medsynth.evaluate.comparison import ComparisonConfig, Fold, compare_folds
from medsynth.evaluate.features import frozen_features
from medsynth.evaluate.fidelity import Whitening, bandwidth, prdc, squared_mmd
from medsynth.evaluate.similarity import mean_off_diagonal, pair_similarity


def test_difference_ranks_real_before_blurred_before_noise(
    train_phantoms, control_phantoms, trained, rng
):
    real, held_out = train_phantoms.images[:80], control_phantoms.images
    blurred = gaussian_filter(real, (0, 1.5, 1.5, 0))
    noise = rng.random(real.shape, np.float32)
    for extract in (frozen_features, trained.features):
        reference = extract(held_out).astype(np.float64)
        whiten = Whitening.fit(reference)
        width = bandwidth(whiten(reference))
        found = [
            squared_mmd(whiten(extract(images).astype(np.float64)), whiten(reference), width)
            for images in (real, blurred, noise)
        ]
        assert found[0] < 0.01
        assert 4 * found[0] < found[1] < found[2]


def test_squared_mmd_of_equal_distributions_is_zero_on_average(rng):
    found = [
        squared_mmd(rng.standard_normal((40, 6)), rng.standard_normal((40, 6)), 3.0)
        for _ in range(60)
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(60)
    assert min(found) < 0


def test_coverage_and_recall_notice_dropped_modes(rng):
    centers = np.array([[0.0, 0], [20, 0], [0, 20], [20, 20]])
    real = np.repeat(centers, 30, axis=0) + rng.standard_normal((120, 2))
    whole = np.repeat(centers, 30, axis=0) + rng.standard_normal((120, 2))
    dropped = np.repeat(centers[:2], 60, axis=0) + rng.standard_normal((120, 2))
    assert prdc(real, whole)["coverage"] > 0.85
    assert prdc(real, dropped)["coverage"] < 0.6
    assert prdc(real, dropped)["recall"] < 0.6 < prdc(real, whole)["recall"]
    assert prdc(real, dropped)["precision"] > 0.8


def test_one_repeated_scan_is_less_diverse(control_phantoms, rng):
    images = control_phantoms.images[:16]
    repeated = np.repeat(images[:1], 16, axis=0)
    repeated = np.clip(repeated + 0.01 * rng.standard_normal(repeated.shape), 0, 1)
    real = mean_off_diagonal(pair_similarity(images))
    assert mean_off_diagonal(pair_similarity(repeated.astype(np.float32))) > 1.2 * real


@pytest.mark.parametrize("shape", [(5, 24, 19, 1), (5, 16, 9, 11)])
def test_similarity_is_symmetric_and_one_with_itself(rng, shape):
    images = rng.random(shape, np.float32)
    images[1] = images[0]
    similarity = pair_similarity(images)
    np.testing.assert_array_equal(similarity, similarity.T)
    assert similarity[0, 1] == pytest.approx(1, abs=1e-5)
    assert similarity[0, 2] < 0.5


def test_frozen_features_of_a_batch_are_those_of_each_alone(rng):
    for shape in [(3, 33, 20, 1), (3, 12, 17, 9)]:
        images = rng.random(shape, np.float32)
        alone = np.concatenate([frozen_features(images[i : i + 1]) for i in range(3)])
        np.testing.assert_allclose(frozen_features(images), alone, atol=1e-5)


def test_comparisons_of_too_few_scans_are_unknown(
    trained, train_phantoms, control_phantoms, as_fold, rng
):
    train, control = as_fold(train_phantoms, "t"), as_fold(control_phantoms, "c")
    few = Fold(control.scans[:9], control.images[:9])
    metrics = compare_folds(trained, few, train, control, rng, ComparisonConfig())
    assert {metric.value for metric in metrics.values()} == {None}
    assert {metric.n for metric in metrics.values()} == {9}
