from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume, to_ras
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.pixels.check import check_pixels
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.reasons import FLAGS, REASONS


def picture_volume(pixels: np.ndarray) -> Volume:
    array = pixels.astype(np.float32).T[..., None]
    i, j, k = array.shape
    return to_ras(Volume(array[None], Geometry((i, j, k), np.diag([-1.0, -1.0, 1.0, 1.0]))))


def checked(volume: Volume, **config: str) -> tuple[str, ...]:
    return check_pixels(volume, (), modality="OT", config=PixelChecks(**config))[1]


def test_the_defaults_are_the_ingest_defaults_and_codes_are_explained() -> None:
    assert IngestConfig().pixels == PixelChecks()
    assert {"burned_in_text", "face", "ocr_missing"} <= set(REASONS)
    assert {"defaced", "face_kept", "text_marker", "text_suspected"} <= set(FLAGS)


@pytest.mark.parametrize("name", ["soop_brain_128", "nih_cxr_128"])
def test_real_pictures_without_text_pass_unchanged(shared: Path, name: str) -> None:
    paths = sorted((shared / "data/cohort2d" / name / "images").glob("*.png"))
    for path in paths[:: len(paths) // 25]:
        volume = picture_volume(np.asarray(Image.open(path)))
        same, flags = check_pixels(volume, ("lossy",), modality="OT", config=PixelChecks())
        assert same is volume
        assert flags[0] == "lossy"


def test_real_crops_of_brains_pass_unchanged(shared: Path) -> None:
    paths = sorted((shared / "data/cohort3d/hippocampus/images").glob("*.nii.gz"))
    for path in paths[::28]:
        image = nib.load(path)
        i, j, k = image.shape
        array = np.asarray(image.dataobj, dtype=np.float32)[None]
        assert checked(Volume(array, Geometry((i, j, k), image.affine))) == ()


def test_the_real_localizer_with_burned_in_text_is_refused(shared: Path) -> None:
    dataset = pydicom.dcmread(shared / "data/phi/presidio_burned_in/2_ORIGINAL.dcm")
    for ocr in ("auto", "off"):
        with pytest.raises(UnreadableScan, match="burned_in_text"):
            checked(picture_volume(dataset.pixel_array), ocr=ocr)


def test_text_on_a_real_scan_is_refused_and_may_be_let_through(shared: Path) -> None:
    paths = sorted((shared / "data/cohort2d/soop_brain_128/images").glob("*.png"))
    large = Image.open(paths[0]).resize((512, 512), Image.Resampling.BICUBIC)
    ImageDraw.Draw(large).text((20, 10), "Doe^Jane 1961", 120, ImageFont.load_default(16))
    volume = picture_volume(np.asarray(large))
    with pytest.raises(UnreadableScan, match="burned_in_text"):
        checked(volume)
    assert checked(volume, text="off") == ()


def test_the_refusal_says_nothing_of_the_text() -> None:
    picture = Image.new("L", (200, 160))
    ImageDraw.Draw(picture).text((20, 40), "KAUFMAN 1943", 200, ImageFont.load_default(16))
    with pytest.raises(UnreadableScan) as caught:
        checked(picture_volume(np.asarray(picture)))
    assert str(caught.value) == "scan refused: burned_in_text"
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_face_is_removed_after_the_text_was_looked_for(shared: Path) -> None:
    folder = shared / "data/bids/ixi_t1_2mm/sub-IXI033/anat"
    image = nib.load(folder / "sub-IXI033_T1w.nii.gz")
    i, j, k = image.shape
    head = to_ras(
        Volume(np.asarray(image.dataobj, np.float32)[None], Geometry((i, j, k), image.affine))
    )
    after, flags = check_pixels(head, (), modality="MR", config=PixelChecks())
    assert "defaced" in flags
    assert (after.array != head.array).any()
