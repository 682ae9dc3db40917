import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest

from privacy.access import Access
from privacy.folds import Fold, RealFolds
from privacy.planted import HARD, KINDS, ROUND_TRIP, plant
from privacy.screen import parts, search
from privacy.screen.confirm import Layers, Whitening
from privacy.screen.decide import (
    Screen,
    allowed_rank,
    conformal_p,
    production_alpha,
    subjects_needed,
)
from privacy.screen.frames import to_views
from privacy.screen.nuisances import variants
from privacy.screen.parts import Parts
from privacy.screen.registration import register
from privacy.screen.search import probe_images
from privacy.screen.whitening import without_own
from privacy.self_test.run import num_null_queries


def untold(count: int) -> None:
    pass


FINER_THAN_32_PIXELS = ("noise_10", "noise_15", "elastic_1", "blur_3", "crop_gamma_jpeg")
FOUND = [kind for kind in KINDS if kind not in (*HARD, *FINER_THAN_32_PIXELS)]


@pytest.mark.parametrize("kind", [*FOUND, "half", ROUND_TRIP])
def test_planted_copies_are_found(kind, screen, folds, phantoms, soften):
    train = folds.train.volumes
    copies = plant(kind, train[:10], train[10:20], seed=3, round_trip=soften)
    assert screen.rejects(screen.match(copies, untold)).sum() >= 8


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


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_blank_scan_resembles_nobody(screen, folds, value):
    blank = np.full_like(folds.train.volumes[:2], value)
    assert not screen.rejects(screen.match(blank, untold)).any()


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
    told: list[int] = []
    known = RealFolds(folds.train, folds.control, few)
    small = Screen.calibrate(known, 0.05, None, told.append)
    assert sum(told) == num_null_queries(known, Access())
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
    moving = fixed.seen_through(moved)
    start = torch.eye(2, 3).repeat(6, 1, 1)
    back = register(moving, fixed, start)
    found = moved[:, :, :2] @ back[:, :, :2]
    assert torch.allclose(found, torch.eye(2).expand(6, 2, 2), atol=0.03)


def test_the_leverage_formula_equals_fitting_without_the_reference(phantoms):
    views = to_views(phantoms(155, seed=5))[:, 0]
    layers, changed = Layers.of(views), Layers.of(variants(views[:150], seed=0))
    fitted, without = layers[torch.arange(150)], layers[torch.arange(1, 150)]
    others = torch.arange(len(changed.fine))[torch.arange(len(changed.fine)) % 150 > 0]
    whole, rest = Whitening.fit(fitted, changed), Whitening.fit(without, changed[others])
    leverages = whole.leverages(fitted)
    for channel, leverage in enumerate(leverages):
        ours, theirs = whole.features(layers)[channel], rest.features(layers)[channel]
        cosine = (ours[..., 150:, :] * ours[..., :1, :]).sum(-1).abs()
        direct = (theirs[..., 150:, :] * theirs[..., :1, :]).sum(-1).abs()
        assert torch.allclose(without_own(cosine, leverage[..., :1]), direct, atol=0.02)


def test_the_leverage_formula_holds_for_quarters_too(phantoms):
    images = probe_images(to_views(phantoms(260, seed=5))[:, 0])
    whole, rest = Parts.fit(images[:250]), Parts.fit(images[1:250]).extend(images[:1])
    for image in images[250:255]:
        mended, direct = whole._best_probes(image)[0][0], rest._best_probes(image)[0][-1]
        assert torch.allclose(mended, direct, atol=0.01)


@pytest.mark.parametrize("kind", ["half", "quadrant"])
def test_whoever_gave_a_part_is_a_candidate(kind, screen, folds, phantoms):
    others = phantoms(12, seed=91)
    copies = to_views(plant(kind, folds.train.volumes[:12], others, seed=1))[:, 0]
    index = screen.gallery.views[0]
    found = index.parts.find(copies, screen.gallery.owners).candidates.references
    subjects = screen.gallery.owners[found.numpy()]
    assert (subjects == folds.train.subjects[:12, None]).any(1).sum() >= 9


def test_searching_in_blocks_changes_nothing(screen, folds, monkeypatch):
    queries = folds.train.volumes[:3]
    once = screen.match(queries, untold)
    monkeypatch.setattr(search, "BLOCK", 50)
    monkeypatch.setattr(parts, "BLOCK", 50)
    again = screen.match(queries, untold)
    assert np.array_equal(once.subjects, again.subjects)
    np.testing.assert_allclose(once.values, again.values, rtol=1e-4, atol=1e-4)


def test_twice_the_same_bit_for_bit(folds):
    few = RealFolds(
        *(Fold(f.volumes[:30], f.subjects[:30]) for f in (folds.train, folds.control)),
        folds.calibration,
    )
    first, second = (Screen.calibrate(few, 0.05, None, untold, seed=4) for _ in range(2))
    assert np.array_equal(first.null, second.null)
    assert first.threshold == second.threshold
    other = Screen.calibrate(few, 0.05, None, untold, seed=5)
    assert not np.array_equal(first.null, other.null)


def test_no_fold_holds_more_of_the_closest_subjects_than_its_share(screen, folds, phantoms):
    scores = screen.match(phantoms(120, seed=61), untold)
    # Counted once each, so that a hub, whom everybody resembles, does not speak for its fold.
    closest = np.unique(scores.subjects[np.arange(120), scores.values.argmax(1)])
    for fold in (folds.train, folds.control, folds.calibration):
        share = fold.num_subjects / len(np.unique(screen.gallery.owners))
        inside = int(np.isin(closest, fold.subjects).sum())
        assert binomtest(inside, len(closest), share).pvalue > 0.001


def test_variants_are_drawn_from_the_seed_and_keep_the_order(folds):
    views = to_views(folds.train.volumes[:6])[:, 0]
    changed = variants(views, 3)
    assert torch.equal(changed, variants(views, 3))
    assert not torch.equal(changed, variants(views, 4))
    alike = torch.corrcoef(torch.cat([views, changed[:6]]).flatten(1))[:6, 6:]
    assert alike.diagonal().mean() > 0.8
    assert alike.diagonal().mean() > alike.mean() + 0.02


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
            for kind in ("noise_05", "rotation_7", "gamma")
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
