import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medsynth.core.errors import UnreadableScan, UsageProblem
from medsynth.core.geometry import Geometry, Volume, to_ras
from medsynth.ingest.pixels import faces
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.face_removal import face_mask, register
from medsynth.ingest.pixels.faces import check_face
from medsynth.ingest.pixels.head import find_head, may_hold_head

SUBJECTS = ("IXI014", "IXI015", "IXI033")


def volume_of(array: np.ndarray, affine: np.ndarray) -> Volume:
    i, j, k = array.shape
    return Volume(array.astype(np.float32)[None], Geometry((i, j, k), affine))


@pytest.fixture(scope="module")
def heads(shared: Path) -> list[Volume]:
    """Whole heads, T1, 2 mm, not defaced."""
    folder = shared / "data/bids/ixi_t1_2mm"
    images = [nib.load(folder / f"sub-{s}/anat/sub-{s}_T1w.nii.gz") for s in SUBJECTS]
    return [to_ras(volume_of(np.asarray(i.dataobj), i.affine)) for i in images]


def without_face(head: Volume) -> Volume:
    after, flags = check_face(head, modality="MR", config=PixelChecks())
    assert flags == ("defaced",)
    return after


def brain_of(head: Volume) -> np.ndarray:
    """What is left of a T1 head after eroding, keeping the largest body, and growing back."""
    array = head.array[0]
    eroded = ndimage.binary_erosion(array > 0.28 * np.percentile(array, 99), iterations=3)
    labels, _ = ndimage.label(eroded)
    core = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_dilation(core, iterations=4)


def nodding(head: Volume, degrees: float) -> Volume:
    """The head turned about its left-right axis, on the same grid."""
    angle = np.deg2rad(degrees)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    middle = np.array(head.geometry.spatial_shape) / 2
    moved = ndimage.affine_transform(head.array[0], turn, middle - turn @ middle, order=1)
    return volume_of(moved, head.geometry.affine)


def test_a_whole_head_has_a_face_and_its_brain_alone_has_none(heads: list[Volume]) -> None:
    for head in heads:
        found = find_head(head)
        assert found is not None
        assert found.has_face
        stripped = find_head(volume_of(head.array[0] * brain_of(head), head.geometry.affine))
        assert stripped is None or not stripped.has_face


def test_the_face_goes_the_brain_stays_and_twice_is_the_same(heads: list[Volume]) -> None:
    after, again = without_face(heads[2]), without_face(heads[2])
    gone = after.array[0] != heads[2].array[0]
    assert gone.mean() > 0.02
    assert not (gone & brain_of(heads[2])).any()
    assert np.array_equal(after.array, again.array)
    assert after.array.dtype == heads[2].array.dtype


def test_a_head_that_nods_loses_the_same_face(heads: list[Volume]) -> None:
    found = find_head(heads[2])
    assert found is not None
    mask = face_mask(heads[2].geometry, register(found), margin=0.0)
    moved = nodding(heads[2], 12)
    face = nodding(volume_of(mask * 1.0, heads[2].geometry.affine), 12).array[0] > 0.5
    tissue = moved.array[0] > 0.12 * np.percentile(moved.array, 99.5)
    left = (without_face(moved).array[0] == moved.array[0]) & face & tissue
    assert left.sum() <= 0.03 * (face & tissue).sum()


def test_the_policy_keeps_or_refuses(heads: list[Volume]) -> None:
    kept, flags = check_face(heads[0], modality="MR", config=PixelChecks(faces="keep"))
    assert flags == ("face_kept",)
    assert kept is heads[0]
    with pytest.raises(UnreadableScan, match="face"):
        check_face(heads[0], modality="MR", config=PixelChecks(faces="refuse"))


def test_a_face_that_is_still_there_is_refused(
    heads: list[Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "remove_face", lambda volume, head: volume)
    with pytest.raises(UnreadableScan, match="face"):
        check_face(heads[0], modality="MR", config=PixelChecks())


def test_without_simple_itk_the_error_names_the_extra(
    heads: list[Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UsageProblem, match=r"medsynth\[faces\]"):
        check_face(heads[0], modality="MR", config=PixelChecks())
    with pytest.raises(UnreadableScan, match="face"):
        check_face(heads[0], modality="MR", config=PixelChecks(faces="refuse"))


@pytest.mark.parametrize("modality", ["DX", "US", "CR"])
def test_projections_have_no_face_to_remove(heads: list[Volume], modality: str) -> None:
    same, flags = check_face(heads[0], modality=modality, config=PixelChecks())
    assert same is heads[0]
    assert flags == ()


def test_crops_coarse_grids_and_trunks_are_no_heads(rng: np.random.Generator) -> None:
    def noise(shape: tuple[int, int, int], mm: float) -> Volume:
        return volume_of(rng.normal(100, 5, shape), np.diag([mm, mm, mm, 1.0]))

    assert not may_hold_head(noise((35, 51, 35), 1.0))
    assert not may_hold_head(noise((64, 64, 64), 3.5))
    assert may_hold_head(noise((90, 100, 100), 2.0))
    rows, columns, _ = np.mgrid[:180, :120, :100]
    trunk = ((rows - 90) / 85) ** 2 + ((columns - 60) / 55) ** 2 < 1
    assert find_head(volume_of(trunk * 100.0, np.diag([2.0, 2.0, 2.0, 1.0]))) is None


def test_an_empty_field_is_no_head() -> None:
    empty = volume_of(np.zeros((90, 100, 100)), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert check_face(empty, modality="CT", config=PixelChecks())[1] == ()
