"""Masks go where their scans' voxels go."""

import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.schema import Attribute
from medsynth.prepare.grid import Grid, conform
from medsynth.prepare.masks import conform_mask

LABELS, SKETCH = Attribute("m", "mask", values=("1", "2")), Attribute("m", "mask")
AFFINE = np.array([[1.0, 0, 0, -9], [0, 2.0, 0, 4], [0, 0, 1.5, 7], [0, 0, 0, 1]])


def mask_of(array):
    i, j, k = array.shape
    return Volume(array[None].astype(np.uint8), Geometry((i, j, k), AFFINE))


def test_a_mask_keeps_its_voxels_on_a_grid_of_the_same_spacing(rng):
    mask = mask_of(rng.integers(0, 3, (7, 9, 5)))
    same = conform_mask(mask, LABELS, Grid((11, 9, 3), (1.0, 2.0, 1.5)))
    assert (same.array[0, 2:-2] == mask.array[0, :, :, 1:-1]).all()
    assert not same.array[0, :2].any()


@pytest.mark.parametrize("spacing", [(0.5, 1.0, 0.5), (2.0, 3.0, 2.5)])
def test_labels_are_never_mixed_and_lie_where_the_scan_lies(spacing):
    array = np.zeros((20, 16, 12))
    array[4:14, 3:12, 2:9] = 2
    mask, grid = mask_of(array), Grid((24, 24, 24), spacing)
    found = conform_mask(mask, LABELS, grid)
    scan = conform(Volume(mask.array.astype(np.float32), mask.geometry), grid)
    assert set(np.unique(found.array)) == {0, 2}
    assert np.allclose(found.geometry.affine, scan.geometry.affine)
    inside = scan.array > 1
    dice = 2 * (inside & (found.array == 2)).sum() / (inside.sum() + (found.array == 2).sum())
    assert dice > 0.9


def test_a_sketch_keeps_its_grays():
    ramp = np.broadcast_to(np.arange(0, 240, 12)[:, None, None], (20, 4, 4))
    found = conform_mask(mask_of(ramp), SKETCH, Grid((10, 4, 4), (2.0, 2.0, 1.5)))
    assert found.array[0, 2:-2, 0, 0].tolist() == pytest.approx(list(range(54, 198, 24)), abs=1)
