from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume, read_volume, to_ras, write_volume


def oblique(spacing: tuple[float, float, float]) -> np.ndarray:
    """An affine turned by 20 degrees about x and 10 about z."""
    a, b = np.deg2rad(20), np.deg2rad(10)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_x @ np.diag(spacing)
    affine[:3, 3] = [-11, 7, 30]
    return affine


def volume_that_tells_its_position(geometry: Geometry) -> Volume:
    index = np.indices(geometry.spatial_shape).reshape(3, -1)
    x, y, z = (geometry.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    field = (0.9 * x + 1.7 * y + 3.1 * z).astype(np.float32)
    return Volume(field.reshape(1, *geometry.spatial_shape), geometry)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_reorienting_keeps_every_voxel_at_its_place(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = oblique((1.0, 2.0, 3.0))
    affine[:3, :3] = affine[:3, list(order)] * np.array(signs)
    volume = volume_that_tells_its_position(Geometry((3, 4, 5), affine))
    turned = to_ras(volume)
    assert turned.geometry.is_ras
    expected = volume_that_tells_its_position(turned.geometry)
    np.testing.assert_allclose(turned.array, expected.array, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_writing_then_reading_is_equal(tmp_path: Path, dtype: str, rng) -> None:
    array = (rng.random((1, 3, 5, 2)) * 200).astype(dtype)
    volume = Volume(array, Geometry((3, 5, 2), oblique((0.5, 2, 3))))
    write_volume(tmp_path / "v.nii", volume)
    again = read_volume(tmp_path / "v.nii")
    assert again.array.dtype == array.dtype
    np.testing.assert_array_equal(again.array, array)
    np.testing.assert_allclose(again.geometry.affine, volume.geometry.affine, atol=1e-5)
    header = nib.load(tmp_path / "v.nii").header
    assert int(header["qform_code"]) == 1
    assert int(header["sform_code"]) == 1
    assert header.get_xyzt_units()[0] == "mm"


def test_a_sheared_volume_keeps_its_shear_and_gets_no_qform(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    write_volume(
        tmp_path / "v.nii", Volume(np.zeros((1, 2, 2, 2), "u1"), Geometry((2, 2, 2), affine))
    )
    image = nib.load(tmp_path / "v.nii")
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)


def test_several_channels_and_strange_types_are_not_stored(tmp_path: Path) -> None:
    geometry = Geometry((2, 2, 2), np.eye(4))
    with pytest.raises(ValueError, match="one channel"):
        write_volume(tmp_path / "v.nii", Volume(np.zeros((2, 2, 2, 2), "u1"), geometry))
    with pytest.raises(ValueError, match="float64"):
        write_volume(tmp_path / "v.nii", Volume(np.zeros((1, 2, 2, 2)), geometry))


@pytest.mark.parametrize(
    ("affine", "message"),
    [(np.zeros((4, 4)), "invertible"), (np.full((4, 4), np.nan), "finite")],
)
def test_impossible_geometry_cannot_be_built(affine: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry((2, 2, 2), affine)


def test_spacing_is_the_length_of_the_columns() -> None:
    assert Geometry((2, 2, 2), oblique((0.5, 1.25, 4))).spacing == pytest.approx((0.5, 1.25, 4))
