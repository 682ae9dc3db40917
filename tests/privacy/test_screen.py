import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from privacy.folds import Fold, RealFolds
from privacy.planted import KINDS, ROUND_TRIP, plant
from privacy.screen.confirm import Layers, Whitening, register
from privacy.screen.decide import (
    Screen,
    allowed_rank,
    conformal_p,
    production_alpha,
    subjects_needed,
)
from privacy.screen.frames import to_views, warp
from privacy.screen.whitening import without_own


def untold(count: int) -> None:
    pass


@pytest.mark.parametrize("kind", [*KINDS, ROUND_TRIP])
def test_planted_copies_are_found(kind, screen, folds, phantoms, soften):
    train = folds.train.volumes
    copies = plant(kind, train[:10], train[10:20], seed=3, round_trip=soften)
    assert screen.rejects(screen.match(copies, untold)).sum() >= 9


@pytest.mark.parametrize("turn", [lambda x: x[:, ::-1], lambda x: np.rot90(x, axes=(1, 2))])
def test_mirrored_and_turned_copies_are_found_where_no_voxel_is_equal(turn, screen, folds):
    turned = np.ascontiguousarray(turn(folds.train.volumes[:10]))
    noisy = plant("noise_05", turned, turned, seed=0)
    assert screen.rejects(screen.match(noisy, untold)).sum() >= 9


def test_round_trips_of_calibration_scans_raise_the_null(folds):
    few = RealFolds(
        *(Fold(f.volumes[:30], f.subjects[:30]) for f in (folds.train, folds.control)),
        folds.calibration,
    )
    plain = Screen.calibrate(few, 0.05, None, untold).null
    copied = Screen.calibrate(
        few, 0.05, lambda volumes: np.repeat(few.train.volumes[:1], len(volumes), 0), untold
    ).null
    assert (copied >= plain).all()
    assert copied.min() > plain.max()


def test_innocent_phantoms_pass(screen, phantoms):
    fresh = screen.match(phantoms(60, seed=77), untold)
    assert screen.rejects(fresh).mean() <= 0.10


def test_a_copy_is_matched_to_its_own_subject(screen, folds):
    copies = plant("rotation_7", folds.train.volumes[:5], folds.train.volumes[5:10], seed=0)
    scores = screen.match(copies, untold)
    best = scores.subjects[np.arange(5), scores.values.argmax(1)]
    assert best.tolist() == folds.train.subjects[:5].tolist()


def test_calibration_scans_join_the_index(screen, folds):
    assert screen.rejects(screen.match(folds.calibration.volumes[:3], untold)).all()


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [(59, 0.05, 1), (299, 0.05, 9), (500, 0.05, 17), (1000, 0.05, 39), (58, 0.05, 0),
     (299, 0.01, 1), (298, 0.01, 0), (500, 0.01, 2), (1000, 0.01, 5), (5000, 0.01, 39),
     (2995, 0.001, 1), (5000, 0.001, 2)],
)  # fmt: skip
def test_ranks_are_those_of_the_beta_law(n, alpha, k):
    assert allowed_rank(n, alpha) == k


def test_alpha_of_5_percent_needs_75_calibration_subjects_at_default_shares():
    assert subjects_needed(0.05, 750, 200) == 75
    assert allowed_rank(75, production_alpha(0.05, 281, 75)) == 1
    assert allowed_rank(74, production_alpha(0.05, 278, 74)) == 0


def test_too_few_calibration_subjects_leave_no_rank_and_say_how_many_are_missing(folds):
    few = Fold(folds.calibration.volumes[:20], folds.calibration.subjects[:20])
    small = Screen.calibrate(RealFolds(folds.train, folds.control, few), 0.05, None, untold)
    assert small.rank == 0
    assert small.num_missing == subjects_needed(0.05, 190, 20) - 20


def test_conformal_p_counts_the_null_at_or_above():
    null = np.array([1.0, 2.0, 3.0])
    assert conformal_p(null, np.array([4.0, 3.0, 0.0])).tolist() == [0.25, 0.5, 1.0]


def test_a_subject_of_many_scans_counts_once_in_the_null(folds):
    calibration = folds.calibration
    twice = Fold(
        np.concatenate([calibration.volumes, calibration.volumes[:10]]),
        np.concatenate([calibration.subjects, calibration.subjects[:10]]),
    )
    found = Screen.calibrate(RealFolds(folds.train, folds.control, twice), 0.05, None, untold)
    assert len(found.null) == calibration.num_subjects


def test_registration_undoes_a_small_move(folds):
    fixed = Layers.of(to_views(folds.train.volumes[:6])[:, 0])
    moved = torch.tensor([[[0.99, 0.10, 0.08], [-0.10, 0.99, -0.06]]]).repeat(6, 1, 1)
    moving = Layers(warp(fixed.fine, moved), warp(fixed.smooth, moved))
    start = torch.eye(2, 3).repeat(6, 1, 1)
    back = register(moving, fixed, start)
    found = moved[:, :, :2] @ back[:, :, :2]
    assert torch.allclose(found, torch.eye(2).expand(6, 2, 2), atol=0.03)


def test_the_leverage_formula_equals_fitting_without_the_reference(phantoms):
    layers = Layers.of(to_views(phantoms(30, seed=5))[:, 0])
    fitted, without = layers[torch.arange(25)], layers[torch.arange(1, 25)]
    whole, rest = Whitening.fit(fitted), Whitening.fit(without)
    leverages = whole.leverages(fitted)
    for channel, leverage in enumerate(leverages):
        ours, theirs = whole.features(layers)[channel], rest.features(layers)[channel]
        cosine = (ours[..., 25:, :] * ours[..., :1, :]).sum(-1).abs()
        direct = (theirs[..., 25:, :] * theirs[..., :1, :]).sum(-1).abs()
        assert torch.allclose(without_own(cosine, leverage[..., :1]), direct, atol=0.02)


def test_volumes_are_compared_by_three_views(phantoms):
    slices = phantoms(3 * 20, seed=8, size=24)[..., 0]
    volumes = slices.reshape(3, 20, 24, 24).transpose(0, 2, 3, 1)
    assert to_views(volumes).shape == (3, 3, 32, 32)


def test_planted_volumes_are_found_and_fresh_ones_pass():
    rng = np.random.default_rng(0)
    volumes = blobs(rng, 190)
    cut = [Fold(volumes[a:b], np.arange(a, b)) for a, b in ((0, 60), (60, 100), (100, 180))]
    screen = Screen.calibrate(RealFolds(*cut), 0.05, None, untold)
    copies = np.concatenate(
        [
            plant(kind, volumes[:4], volumes[4:8], seed=0)
            for kind in ("noise_10", "rotation_7", "gamma")
        ]
    )
    assert screen.rejects(screen.match(copies, untold)).mean() >= 0.9
    assert screen.rejects(screen.match(volumes[180:], untold)).mean() <= 0.2


def blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random texture that fades toward the border, unequal sides."""
    noise = gaussian_filter(rng.standard_normal((count, 20, 28, 18)), (0, 1.5, 1.5, 1.5))
    rim = [np.sin(np.pi * (np.arange(n) + 0.5) / n) for n in (20, 28, 18)]
    window = rim[0][:, None, None] * rim[1][None, :, None] * rim[2]
    return np.clip((0.5 + 0.15 * noise / noise.std()) * window, 0, 1).astype(np.float32)
