"""Resampling keeps world points, does not alias, pads with darkness."""

import numpy as np
import pytest
from pydantic import ValidationError

from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Geometry, Volume
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.grid import Grid, conform, derive_grid, normalize, plane_last

OBLIQUE = np.array([[1.4, -0.5, 0.2, 10], [0.6, 1.3, -0.1, -20], [0, 0.3, 2.5, 5], [0, 0, 0, 1]])


def linear(points: np.ndarray) -> np.ndarray:
    return points @ [2.0, 3.0, -1.0] + 200


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    indices = np.moveaxis(np.indices(shape), 0, -1)
    values = linear(indices @ affine[:3, :3].T + affine[:3, 3])
    return Volume(values.astype(np.float32)[None], Geometry(shape, affine))


def inner(volume: Volume, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """(values, what their places say) away from the border."""
    shape = volume.geometry.spatial_shape
    indices = np.moveaxis(np.indices(shape), 0, -1)
    affine = volume.geometry.affine
    wanted = linear(indices @ affine[:3, :3].T + affine[:3, 3])
    cut = tuple(slice(margin, side - margin) if side > 1 else slice(None) for side in shape)
    return volume.array[0][cut], wanted[cut]


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 5.0), (0.8, 0.7, 1.1), (1.4, 2.9, 2.5)])
@pytest.mark.parametrize("shape", [(9, 21, 14), (17, 13, 11)])
def test_conforming_keeps_world_points(shape, spacing):
    source = ramp((22, 25, 17), OBLIQUE)
    count = [
        min(n, int(s * h / w) - 3)
        for n, s, h, w in zip(shape, (22, 25, 17), source.geometry.spacing, spacing, strict=True)
    ]
    conformed = conform(source, Grid((count[0], count[1], count[2]), spacing))
    values, wanted = inner(conformed, 2)
    assert values.size
    assert np.abs(values - wanted).max() < 0.05
    assert conformed.geometry.spacing == pytest.approx(spacing)


def test_the_center_stays_the_center():
    source = ramp((22, 25, 17), OBLIQUE)
    conformed = conform(source, Grid((40, 8, 16), (1.0, 2.0, 3.0)))
    middles = [
        v.geometry.affine @ [*((np.array(v.geometry.spatial_shape) - 1) / 2), 1]
        for v in (source, conformed)
    ]
    assert np.allclose(middles[0], middles[1])


def test_an_equal_grid_changes_nothing():
    source = ramp((8, 9, 10), OBLIQUE)
    conformed = conform(source, Grid((8, 9, 10), source.geometry.spacing))
    assert np.allclose(conformed.array, source.array, atol=1e-4)
    assert np.allclose(conformed.geometry.affine, OBLIQUE)


def test_a_quarter_of_the_pixels_averages_their_neighbors(rng):
    noise = rng.random((64, 64, 1)).astype(np.float32)
    source = Volume(noise[None], Geometry((64, 64, 1), np.eye(4)))
    conformed = conform(source, Grid((16, 16, 1), (4.0, 4.0, 7.0)))
    blocks = noise.reshape(16, 4, 16, 4).mean((1, 3))
    assert np.corrcoef(conformed.array[0, ..., 0].ravel(), blocks.ravel())[0, 1] > 0.85


def test_beyond_the_scan_is_darkness():
    ones = Volume(np.ones((1, 6, 6, 1), np.float32), Geometry((6, 6, 1), np.eye(4)))
    conformed = conform(ones, Grid((10, 4, 1), (1.0, 1.0, 1.0)))
    assert conformed.array[0, :, :, 0].sum(axis=1).tolist() == [0, 0, 4, 4, 4, 4, 4, 4, 0, 0]


def test_a_single_plane_lies_at_the_end():
    source = ramp((1, 7, 9), OBLIQUE)
    turned = plane_last(source)
    assert turned.geometry.spatial_shape == (7, 9, 1)
    values, wanted = inner(turned, 0)
    assert np.allclose(values, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "spacing", "grid"),
    [
        ((128, 128, 1), (1.5, 1.5, 5), Grid((64, 64, 1), (3.0, 3.0, 5.0))),
        ((50, 50, 1), (1, 1, 5), Grid((56, 56, 1), (50 / 56, 50 / 56, 5.0))),
        ((200, 100, 1), (1, 1, 5), Grid((64, 32, 1), (200 / 64, 100 / 32, 5.0))),
        ((35, 51, 35), (1, 1, 1), Grid((32, 48, 32), (35 / 32, 51 / 48, 35 / 32))),
    ],
)
def test_the_grid_follows_the_median_scan(shape, spacing, grid):
    found = derive_grid([Geometry(shape, np.diag([*spacing, 1.0]))], PrepareConfig())
    assert found.shape == grid.shape
    assert found.spacing == pytest.approx(grid.spacing)


def test_a_flat_grid_for_volumes_is_refused():
    with pytest.raises(UsageProblem, match="one plane"):
        derive_grid([Geometry((9, 9, 9), np.eye(4))], PrepareConfig(shape=(8, 8, 1)))


def test_intensities_end_in_the_unit_interval(rng):
    values = rng.normal(100, 30, (20, 20, 3)).astype(np.int16)
    scaled = normalize(values, PrepareConfig())
    assert (scaled.dtype, scaled.min(), scaled.max()) == (np.float32, 0, 1)
    assert np.allclose(normalize(values, PrepareConfig(), is_inverted=True), 1 - scaled)
    ranged = normalize(values, PrepareConfig(intensity="range", range=(0.0, 1000.0)))
    assert np.allclose(ranged, np.clip(values / 1000, 0, 1), atol=1e-6)


def test_an_even_image_is_darkness():
    assert not normalize(np.full((4, 4, 1), 7), PrepareConfig()).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": {"validation": 1.0}},
        {"percentiles": (9, 1)},
        {"folds": {"train": 0.5}},
        {"shape": (0, 1, 1)},
    ],
)
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        PrepareConfig(**wrong)
