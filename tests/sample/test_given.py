"""Masks from a folder to a cohort, in 2D and 3D, through a generator that was saved and loaded."""

import json

import numpy as np
import pytest
from PIL import Image

from medsynth.checkpoint import load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import FOLDS, Manifest, load_arrays, store_scan
from medsynth.core.masks import load_masks, mask_digest, store_mask
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Request, produce
from medsynth.prepare.mask_folder import read_mask_folder
from medsynth.sample.cohort import redraw_for, sample
from medsynth.sample.given import Given, read_texts
from medsynth.sample.plan import Plan
from medsynth.train.config import TrainConfig
from medsynth.train.train import train

SCHEMA = AttributeSchema((Attribute("age", "continuous"), Attribute("spot", "mask", values=("1",))))
TINY = TrainConfig(
    autoencoder_channels=(8, 8), latent_channels=2, autoencoder_steps=4, autoencoder_batch=4,
    denoiser_channels=(16, 16), denoiser_steps=8, denoiser_batch=4, validate_every=4,
)  # fmt: skip
SHAPES = [(16, 12, 1), (8, 16, 8)]


def spot(shape, number):
    mask = np.zeros(shape, np.uint8)
    mask[number % 5 : number % 5 + 4, 2 + number % 4 : 7 + number % 4] = 1
    return mask


def prepared_of(out, shape):
    """Gray scans with a bright spot where their mask is; every seventh has none."""
    geometry, rng = Geometry(shape, np.diag([2.0, 3, 4, 1])), np.random.default_rng(0)

    def build(folder):
        scans = []
        for index in range(32):
            mask = spot(shape, index) * bool(index % 7)
            voxels = 0.2 + 0.6 * mask + 0.02 * rng.standard_normal(shape)
            known = store_mask(folder, Volume(mask[None], geometry)) if index % 7 else None
            scans.append(
                store_scan(
                    folder, Volume(voxels[None].astype(np.float32), geometry),
                    scan_id=f"s{index:02d}", subject_id=f"p{index:02d}", modality="MR",
                    attributes={"age": 20.0 + index, "spot": known},
                    fold="train" if index < 24 else FOLDS[1 + index % 3],
                )
            )  # fmt: skip
        Manifest(tuple(scans), SCHEMA).write(folder)

    return produce(out, Request("prepared", {}, {}, "test"), build)


@pytest.fixture(scope="module", params=SHAPES, ids=["2d", "3d"])
def checkpoint(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    return train(prepared_of(out, request.param), out, TINY)[1]


def test_a_cohort_is_drawn_with_the_masks_in_turn(checkpoint, tmp_path):
    generator = load_generator(checkpoint.path)
    shape = generator.geometry.spatial_shape
    given = Given({"spot": (spot(shape, 1), spot(shape, 3))})
    cohort = sample(checkpoint, tmp_path, Plan(count=5), k_min=1, given=given)
    scans = Manifest.read(cohort.path).scans
    masks = load_masks(cohort.path, SCHEMA, [scan.attributes for scan in scans])
    numbers = [(masks[scan.attributes["spot"]] == spot(shape, 1)).all() for scan in scans]
    assert numbers == [True, False, True, False, True]
    asked = json.loads((cohort.path / "plan.json").read_text())["requests"][1]["attributes"]
    assert asked["spot"] == mask_digest(spot(shape, 3))
    again = sample(checkpoint, tmp_path, Plan(count=5), k_min=1, given=given)
    assert again.reused
    other = sample(checkpoint, tmp_path / "b", Plan(count=5), k_min=1)
    drawn, free = (load_arrays(c.path, Manifest.read(c.path)) for c in (cohort, other))
    assert not np.array_equal(drawn, free)
    assert {scan.attributes["spot"] for scan in Manifest.read(other.path)} == {None}


def test_the_judge_redraws_with_the_masks_of_the_cohort(checkpoint, tmp_path):
    shape = load_generator(checkpoint.path).geometry.spatial_shape
    given = Given({"spot": (spot(shape, 1), spot(shape, 3))})
    plan = Plan(count=2)
    cohort = sample(checkpoint, tmp_path, plan, k_min=1, given=given)
    asked = [scan.attributes for scan in Manifest.read(cohort.path)]
    with pytest.raises(ValueError, match="spot: a mask is asked for with its picture"):
        redraw_for(checkpoint.path, plan, k_min=1)(asked, 1)
    assert redraw_for(checkpoint.path, plan, k_min=1, cohort=cohort.path)(asked, 1).shape[0] == 2


def test_a_folder_of_pictures_becomes_masks_on_the_generators_grid(tmp_path):
    geometry = Geometry((16, 12, 1), np.diag([1.0, 1.0, 5.0, 1.0]))
    for name, column in [("b.png", 3), ("a.png", 5)]:
        picture = np.zeros((12, 16), np.uint8)
        picture[2:6, column : column + 4] = 255
        Image.fromarray(picture).save(tmp_path / name)
    first, second = read_mask_folder(tmp_path, SCHEMA, geometry)["spot"]
    assert first.shape == second.shape == (16, 12, 1)
    assert first.sum() == second.sum() == 16
    # Pictures are seen from below, as DICOM's are: columns run from the patient's right to left.
    assert np.argmax(second.any(axis=(1, 2))) - np.argmax(first.any(axis=(1, 2))) == 2


def test_what_is_no_mask_is_refused_without_its_name(tmp_path):
    geometry = Geometry((16, 12, 1), np.eye(4))
    with pytest.raises(UsageProblem, match="spot: the folder of the masks is empty"):
        read_mask_folder(tmp_path, SCHEMA, geometry)
    (tmp_path / "john-doe.nii.gz").write_text("no mask")
    with pytest.raises(UsageProblem, match="spot: file 1 of the masks is none") as error:
        read_mask_folder(tmp_path, SCHEMA, geometry)
    assert "john" not in str(error.value)
    with pytest.raises(UsageProblem, match="no attribute of this generator is a mask"):
        read_mask_folder(tmp_path, AttributeSchema(), geometry)


def test_labels_that_training_never_saw_are_refused_before_anything_is_drawn(checkpoint, tmp_path):
    shape = load_generator(checkpoint.path).geometry.spatial_shape
    with pytest.raises(UsageProblem, match="spot"):
        sample(checkpoint, tmp_path, Plan(count=1), given=Given({"spot": (2 * spot(shape, 1),)}))
    assert not (tmp_path / "cohort").exists()


def test_texts_come_from_a_table_row_by_row(tmp_path):
    schema = AttributeSchema((Attribute("story", "text"), Attribute("sex", "category")))
    (tmp_path / "t.csv").write_text('story\n"small, left"\n\nlarge\n"  "\n')
    texts = read_texts(tmp_path / "t.csv", schema)
    assert texts == {"story": ("small, left", "large", None)}
    given = Given({}, texts)
    assert [given[index]["story"] for index in (0, 2, 4)] == ["small, left", None, "large"]
    assert set(given.parents) == {"texts"}
    for wrong in ("sex\nF\n", "story\n", ""):
        (tmp_path / "t.csv").write_text(wrong)
        with pytest.raises(UsageProblem, match="columns of story"):
            read_texts(tmp_path / "t.csv", schema)
