from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medsynth.core.pictures import hang, image_grid, planes_of, png_bytes, scan_picture
from medsynth.ingest.phantom import draw_phantom


def _bright(shape, index):
    volume = np.zeros(shape, np.float32)
    volume[index] = 1
    return volume


def test_axial_planes_hang_with_anterior_up_and_the_right_side_left():
    (plane,) = planes_of(_bright((4, 6, 1), (3, 5, 0)))  # right, anterior
    assert plane.shape == (6, 4)
    assert plane[0, 0] == 1


def test_a_volume_shows_axial_coronal_and_sagittal_planes_with_superior_up():
    shape = (5, 7, 9)
    axial, coronal, sagittal = planes_of(_bright(shape, (4, 3, 4)))
    assert axial.shape == (7, 5)
    assert axial[3, 0] == 1
    coronal = planes_of(_bright(shape, (4, 3, 8)))[1]
    assert coronal.shape == (9, 5)
    assert coronal[0, 0] == 1  # superior, right
    sagittal = planes_of(_bright(shape, (2, 6, 8)))[2]
    assert sagittal.shape == (9, 7)
    assert sagittal[0, 0] == 1  # superior, anterior


def test_a_phantom_stored_as_ras_hangs_as_it_was_drawn(rng):
    drawn = draw_phantom(rng, age=50.0, sex="F", lesion=True, size=16)
    stored = np.ascontiguousarray(drawn[::-1, ::-1].T)
    np.testing.assert_array_equal(hang(stored), drawn)


def test_a_grid_has_a_tile_for_each_scan_and_a_label_below(rng):
    volumes = 0.5 * rng.random((5, 8, 9, 1), np.float32)
    bare = image_grid(volumes, 3, height=18)
    labeled = image_grid(volumes, 3, labels=["age 30"] * 5, height=18)
    assert bare.size == (3 * (16 + 4) + 4, 2 * (18 + 4) + 4)
    assert labeled.height > bare.height
    assert np.asarray(labeled).max() > np.asarray(bare).max()


def test_a_grid_of_volumes_shows_three_planes_each(rng):
    grid = image_grid(rng.random((2, 8, 10, 6), np.float32), 4, height=10)
    assert grid.width == 2 * (8 + 8 + 10 + 2 * 4 + 4) + 4


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs scans"):
        image_grid(np.zeros((0, 4, 4, 1), np.float32), 2)


def test_a_picture_is_clipped_and_says_nothing_but_its_pixels():
    volume = np.array([[-1, 0.5], [2, np.nan]], np.float32)[..., None]
    picture = scan_picture(volume, height=2)
    assert sorted(np.asarray(picture).ravel()) == [0, 0, 128, 255]
    read = Image.open(BytesIO(png_bytes(picture)))
    assert read.info == {}
    assert read.size == (2, 2)
