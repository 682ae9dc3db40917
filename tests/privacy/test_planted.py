import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from privacy.folds import Fold
from privacy.planted import (
    EVERY_KIND,
    HARD,
    KINDS,
    LESION,
    MUST_CATCH,
    ROUND_TRIP,
    SDEDIT,
    SLICES,
    part_other_scans,
    plant,
    redream_by,
    why_not,
)
from privacy.planted.geometry import elastic
from privacy.policy import read_policy


def texture(*shape: int) -> np.ndarray:
    """Smooth random scans that use all of [0, 1]."""
    drawn = gaussian_filter(np.random.default_rng(5).random(shape), (0, 2, 2, 0))
    drawn -= drawn.min()
    return (drawn / drawn.max()).astype(np.float32)


def copies_of(kind: str, scans: np.ndarray, seed: int = 4) -> np.ndarray:
    return plant(kind, scans, scans[::-1], seed=seed)


@pytest.mark.parametrize("shape", [(2, 32, 40, 1), (2, 12, 16, 9)])
@pytest.mark.parametrize("kind", [*KINDS, *SLICES])
def test_copies_keep_shape_and_range_and_are_the_same_for_a_seed(kind, shape):
    scans = texture(*shape)
    if kind in SLICES and shape[3] == 1:
        pytest.skip("a single slice has no neighbor")
    before = scans.copy()
    once, twice = (copies_of(kind, scans) for _ in range(2))
    assert once.shape == scans.shape
    assert once.dtype == np.float32
    assert 0 <= once.min() <= once.max() <= 1
    assert np.array_equal(once, twice)
    assert np.array_equal(scans, before)
    assert (kind == "exact") == np.array_equal(once, scans)


@pytest.mark.parametrize(
    "kind",
    ["noise_05", "rotation_5_30", "elastic_1", "bias_field", "half", "quadrant",
     "flip_rotation_noise"],
)  # fmt: skip
def test_another_seed_makes_another_copy(kind):
    scans = texture(6, 24, 24, 1)
    assert not np.array_equal(copies_of(kind, scans, 1), copies_of(kind, scans, 2))


@pytest.mark.parametrize("kind", [k for k in MUST_CATCH if k in KINDS and k != "invert"])
def test_what_does_not_move_resembles_its_own_scan_most(kind):
    moved = ("flip", "rotation", "shift", "crop")
    if kind.startswith(moved):
        pytest.skip("moved")
    scans = texture(2, 64, 64, 1)
    own, other = (
        np.corrcoef(copies_of(kind, scans)[0].ravel(), scan.ravel())[0, 1] for scan in scans
    )
    assert own > max(0.6, other)


@pytest.mark.parametrize("percent", [1, 5, 10, 15, 20, 30])
def test_noise_has_its_spread(percent):
    gray = np.full((1, 200, 200, 1), 0.5, np.float32)
    spread = (plant(f"noise_{percent:02d}", gray, gray, seed=0) - gray).std()
    assert spread == pytest.approx(percent / 100, rel=0.11)


def test_flips_mirror_the_first_and_the_second_axis():
    scans = texture(2, 8, 10, 3)
    assert np.array_equal(copies_of("flip", scans), scans[:, ::-1])
    assert np.array_equal(copies_of("flip_ud", scans), scans[:, :, ::-1])


def test_a_quarter_turn_and_back_is_the_scan():
    scans = texture(2, 16, 16, 3)
    assert np.array_equal(np.rot90(copies_of("rotation_90", scans), -1, axes=(1, 2)), scans)


def test_a_shift_moves_by_shares_of_the_view():
    point = np.zeros((1, 50, 100, 1), np.float32)
    point[0, 20, 40] = 1
    moved = copies_of("shift", point)
    assert np.argwhere(moved > 0.9).tolist() == [[0, 24, 34, 0]]


@pytest.mark.parametrize(("kind", "share"), [("crop_85", 0.85), ("crop_70", 0.7)])
@pytest.mark.parametrize("depth", [1, 41])
def test_a_crop_enlarges_about_the_center(kind, share, depth):
    ramp = np.linspace(0, 1, 41, dtype=np.float32)
    scan = np.broadcast_to(ramp[:, None, None], (41, 41, depth))[None]
    line = copies_of(kind, scan)[0, :, 20, 0]
    assert np.allclose(line, 0.5 + share * (ramp - 0.5), atol=1e-5)


@pytest.mark.parametrize("side", [64, 128])
def test_an_elastic_copy_is_bent_by_its_share_of_the_view_at_any_size(side):
    ramp = np.broadcast_to(np.linspace(0, 1, side)[:, None, None], (side, side, 1))
    rng, inner = np.random.default_rng(0), slice(side // 8, -side // 8)
    bent = np.stack([elastic(2 / 64)(ramp, ramp, rng) for _ in range(8)])
    moved = (bent - ramp)[:, inner, inner] * (side - 1) / side
    assert moved.std() == pytest.approx(2 / 64, rel=0.1)


def test_a_neighboring_slice_stands_in_for_each():
    scans = texture(1, 6, 6, 5)
    moved = copies_of("slice_2", scans)
    assert np.array_equal(moved[..., :3], scans[..., 2:])
    assert np.array_equal(moved[..., 4], scans[..., 4])


def test_intensity_kinds_are_their_formulas():
    scans = texture(1, 12, 12, 1)
    assert np.allclose(copies_of("gamma", scans), np.sqrt(scans), atol=1e-6)
    assert np.allclose(copies_of("gamma_2", scans), scans**2, atol=1e-6)
    assert np.allclose(copies_of("invert", scans), 1 - scans)
    assert np.allclose(copies_of("brightness_150", scans), np.minimum(1.5 * scans, 1))
    stretched = np.clip(scans.mean() + 2 * (scans - scans.mean()), 0, 1)
    assert np.allclose(copies_of("contrast_200", scans), stretched, atol=1e-6)
    assert np.allclose(copies_of("window", scans), np.clip((scans - 0.15) / 0.6, 0, 1), atol=1e-5)


def test_a_bias_field_is_smooth_and_bounded():
    gray = np.full((1, 64, 64, 1), 0.5, np.float32)
    field = np.log(copies_of("bias_field", gray)[0, ..., 0] / 0.5)
    assert 0.39 < np.abs(field).max() < 0.41
    assert np.abs(np.diff(field, axis=0)).max() < 0.05


def test_blur_halves_a_wave_of_the_right_length():
    side, sigma = 128, 3 / 64 * 128
    length = 2 * np.pi * sigma / np.sqrt(2 * np.log(2))
    wave = 0.5 + 0.4 * np.cos(2 * np.pi * (np.arange(side) - side / 2) / length)
    scan = np.broadcast_to(wave[:, None, None], (side, side, 1)).astype(np.float32)[None]
    assert copies_of("blur_3", scan)[0, side // 2, 0, 0] == pytest.approx(0.7, abs=0.01)


def test_worse_jpegs_and_coarser_grids_lose_more():
    scans = texture(2, 64, 64, 2)
    lost = [np.abs(copies_of(f"jpeg_{q}", scans) - scans).mean() for q in (90, 50, 30, 10, 5)]
    assert lost == sorted(lost)
    assert lost[0] > 0
    checker = (np.indices((1, 32, 32, 1)).sum(0) % 2).astype(np.float32)
    assert np.abs(copies_of("downsample", checker)[0, 4:-4, 4:-4] - 0.5).max() < 0.05


def test_mixed_copies_hold_their_share_of_the_scan():
    scans = np.zeros((20, 10, 12, 3), np.float32)
    others = np.ones_like(scans)
    shares = {"blend_70": 0.3, "blend_50": 0.5, "half": 0.5, "quadrant": 0.75}
    for kind, share in shares.items():
        copies = plant(kind, scans, others, seed=0)
        assert np.allclose(copies.mean((1, 2, 3)), share)
    halves = plant("half", scans, others, seed=0)
    assert set(halves[:, 0, 0, 0].tolist()) == {0, 1}


def test_a_lesion_is_copied_alone():
    scans, masks = texture(2, 8, 8, 1), np.zeros((2, 8, 8, 1), bool)
    masks[:, 2:4, 2:4] = True
    copies = plant(LESION, scans, scans[::-1], seed=0, masks=masks)
    assert np.array_equal(copies[masks], scans[masks])
    assert np.array_equal(copies[~masks], scans[::-1][~masks])


def test_model_made_kinds_are_the_models_own():
    scans, asked = np.full((1, 4, 4, 1), 0.5, np.float32), []

    def redream(volumes, t, seed):
        asked.append((t, seed))
        return volumes - 1

    copies = plant(ROUND_TRIP, scans, scans, seed=0, round_trip=lambda volumes: volumes * 3)
    assert (copies == 1).all()
    for kind in SDEDIT:
        assert (plant(kind, scans, scans, seed=7, redream=redream) == 0).all()
    assert asked == [(0.1, 7), (0.2, 7), (0.3, 7), (0.5, 7)]


class Gaussian:
    """The exact denoiser of latents from N(0, spread^2), along the straight path."""

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def encode(self, volumes: np.ndarray) -> np.ndarray:
        return volumes - 0.5

    def condition(self, attributes: object) -> None:
        assert attributes is None

    def path(self, t: float) -> tuple[float, float]:
        return 1 - t, t

    def predict(self, z_t: np.ndarray, t: float, condition: None) -> tuple:
        signal = (1 - t) ** 2 * self.spread**2
        clean = z_t * (1 - t) * self.spread**2 / (signal + t**2)
        return (z_t - (1 - t) * clean) / t, clean


def test_sdedit_through_a_denoiser_forgets_as_the_path_says():
    scans = np.random.default_rng(0).normal(0.5, 0.1, (40, 16, 16, 1)).astype(np.float32)
    redream = redream_by(Gaussian(0.1), lambda latents: latents + 0.5)
    for t in SDEDIT.values():
        dreamt = redream(scans, t, 3)
        signal, noise = (1 - t) * 0.1, t
        kept = signal / np.hypot(signal, noise)
        assert np.corrcoef(dreamt.ravel(), scans.ravel())[0, 1] == pytest.approx(kept, abs=0.03)
        assert dreamt.std() == pytest.approx(0.1, rel=0.15)


def test_kinds_that_cannot_be_planted_say_why():
    scans = np.zeros((1, 4, 4, 1), np.float32)
    for kind, words in ((ROUND_TRIP, "generator"), ("sdedit_30", "generator"),
                        (LESION, "lesion mask"), ("slice_1", "single slices")):  # fmt: skip
        assert words in why_not(kind, 1)
        with pytest.raises(ValueError, match=words):
            plant(kind, scans, scans, seed=0)
    assert why_not("slice_1", 5) is None
    assert why_not(ROUND_TRIP, 1, round_trip=lambda volumes: volumes) is None
    with pytest.raises(ValueError, match="must be one of"):
        plant("photocopy", scans, scans, seed=0)


def test_policies_name_kinds_of_the_battery():
    assert set(MUST_CATCH) | set(HARD) == set(EVERY_KIND)
    for name in ("demo", "pilot"):
        policy = read_policy(name)
        assert set(policy.screen_power.must_catch) <= set(MUST_CATCH)


def test_other_scans_are_taken_from_those_who_keep_one():
    subjects = np.array([4, 4, 7, 9, 9, 9])
    fold = Fold(texture(6, 4, 4, 1), subjects, tuple({"age": float(n)} for n in range(6)))
    stays, taken = part_other_scans(fold, seed=1)
    assert sorted(taken.subjects.tolist()) == [4, 9]
    assert sorted(stays.subjects.tolist()) == [4, 7, 9, 9]
    ages = [row["age"] for row in (*stays.attributes, *taken.attributes)]
    assert sorted(ages) == [0, 1, 2, 3, 4, 5]
    for part in (stays, taken):
        place = [int(row["age"]) for row in part.attributes]
        assert np.array_equal(part.volumes, fold.volumes[place])
    assert part_other_scans(fold, seed=1)[1].attributes == taken.attributes
