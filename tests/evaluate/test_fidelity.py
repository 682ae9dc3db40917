import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim
from scipy.ndimage import gaussian_filter

from medsynth.evaluate.comparison import NAMES, ComparisonConfig, Fold, compare_folds
from medsynth.evaluate.features import frozen_features
from medsynth.evaluate.fidelity import (
    Whitening,
    bandwidth,
    mmd_by_chance,
    prdc,
    squared_mmd,
)
from medsynth.evaluate.similarity import WEIGHTS, mean_off_diagonal, pair_similarity
from medsynth.evaluate.two_sample import TwoSampleConfig


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


def test_one_in_twenty_pairs_of_equal_sets_lies_above_what_chance_allows(rng):
    allowed = mmd_by_chance(rng.standard_normal((80, 6)), 3.0, rng, num_draws=200)
    found = [
        squared_mmd(rng.standard_normal((40, 6)), rng.standard_normal((40, 6)), 3.0)
        for _ in range(200)
    ]
    assert allowed > 0
    assert 0.005 < np.mean(np.array(found) > allowed) < 0.15


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


@pytest.mark.parametrize(("shape", "num_scales"), [((3, 29, 33, 1), 3), ((3, 14, 15, 17), 2)])
def test_similarity_is_monais_multiscale_ssim(rng, shape, num_scales):
    images = rng.random(shape, np.float32)
    images[1:] = (images[1:] + images[:1]) / 2
    x, dims = torch.from_numpy(images)[:, None], 2 if shape[3] == 1 else 3
    x = x[..., 0] if dims == 2 else x
    weights = np.array(WEIGHTS[:num_scales])
    theirs = compute_ms_ssim(
        x[:1].expand(2, *x.shape[1:]),
        x[1:],
        spatial_dims=dims,
        kernel_size=[7] * dims,
        kernel_sigma=[1.5] * dims,
        weights=list(weights / weights.sum()),
    )
    np.testing.assert_allclose(pair_similarity(images)[0, 1:], theirs.ravel(), rtol=1e-4)


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


def test_the_autoencoders_own_loss_stands_in_rows_of_its_own(
    trained, train_phantoms, control_phantoms, cohort_phantoms, as_fold, rng
):
    """The cohort is fine, and its autoencoder blurs: only the ceiling's rows are low."""
    two_sample = TwoSampleConfig(num_steps=60, num_folds=2, widths=(8, 16), num_draws=20)
    config = ComparisonConfig(num_draws=10, max_pairs_from=12, two_sample=two_sample)
    train, control = as_fold(train_phantoms, "t"), as_fold(control_phantoms, "c")
    metrics = compare_folds(
        trained,
        as_fold(cohort_phantoms, "s"),
        train,
        control,
        rng,
        config,
        round_trip=lambda volumes: gaussian_filter(volumes, (0, 1.5, 1.5, 0)),
    )
    assert set(metrics) == {*NAMES, *("round_trip_" + name for name in NAMES)}
    assert metrics["two_sample_auc"].value < 0.7 < metrics["round_trip_two_sample_auc"].value
    assert metrics["round_trip_mmd_frozen"].value > 10 * metrics["mmd_frozen"].value
    assert metrics["round_trip_coverage"].floor == metrics["coverage"].floor


def test_comparisons_of_too_few_scans_are_unknown(
    trained, train_phantoms, control_phantoms, as_fold, rng
):
    train, control = as_fold(train_phantoms, "t"), as_fold(control_phantoms, "c")
    few = Fold(control.scans[:9], control.images[:9])
    metrics = compare_folds(trained, few, train, control, rng, ComparisonConfig())
    assert {metric.value for metric in metrics.values()} == {None}
    assert {metric.n for metric in metrics.values()} == {9}
