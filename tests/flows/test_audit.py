"""The audit of somebody else's cohort: plain folders of pictures with a metadata.csv."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

pytestmark = pytest.mark.filterwarnings("ignore")
SIDE = 24


def _write(folder: Path, images: dict[str, np.ndarray], form: str, side: int = SIDE) -> Path:
    """A plain folder: files of one form and a table of who is whom."""
    (folder / "images").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient_id", "age"])
        for number, (name, image) in enumerate(images.items()):
            picture = Image.fromarray((image * 255).astype(np.uint8)).resize((side, side))
            path = folder / "images" / f"{name}.{form}"
            _SAVE[form](path, np.asarray(picture), name)
            table.writerow([f"images/{path.name}", name, 40 + number % 30])
    return folder


def _save_nifti(path: Path, pixels: np.ndarray, name: str) -> None:
    nib.save(nib.Nifti1Image(pixels.T[:, ::-1, None].astype(np.int16), np.eye(4)), path)


def _save_dicom(path: Path, pixels: np.ndarray, name: str) -> None:
    plane = Dataset()
    plane.SOPClassUID, plane.SOPInstanceUID = CTImageStorage, generate_uid()
    plane.StudyInstanceUID, plane.SeriesInstanceUID = generate_uid(), generate_uid()
    plane.PatientID, plane.Modality, plane.ImageType = name, "CT", ["ORIGINAL", "PRIMARY"]
    plane.ImagePositionPatient, plane.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    plane.PixelSpacing, plane.SliceThickness = [1, 1], 1
    plane.Rows, plane.Columns = pixels.shape
    plane.SamplesPerPixel, plane.PhotometricInterpretation = 1, "MONOCHROME2"
    plane.BitsAllocated = plane.BitsStored = 16
    plane.HighBit, plane.PixelRepresentation = 15, 0
    plane.PixelData = pixels.astype("<u2").tobytes()
    plane.file_meta = FileMetaDataset()
    plane.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plane.save_as(path, enforce_file_format=True)


_SAVE: dict[str, Callable[[Path, np.ndarray, str], None]] = {
    "png": lambda path, pixels, name: Image.fromarray(pixels).save(path),
    "nii": _save_nifti,
    "dcm": _save_dicom,
}


def _blobs(rng: np.random.Generator, name: str, count: int) -> dict[str, np.ndarray]:
    grid = np.linspace(-1, 1, SIDE)
    centers = rng.uniform(-0.7, 0.7, (count, 4, 2))
    return {
        f"{name}{n}": np.clip(
            sum(np.exp(-8 * ((grid - x) ** 2 + (grid[:, None] - y) ** 2)) for x, y in blobs), 0, 1
        )
        for n, blobs in enumerate(centers)
    }


@pytest.mark.parametrize("form", ["png", "nii", "dcm"])
def test_plain_folders_are_read_onto_the_cohorts_grid_and_judged(
    server: str, home: Path, tmp_path: Path, rng: np.random.Generator, form: str
) -> None:
    from flows.audit import audit_flow
    from flows.job import Job
    from medsynth.core.manifest import Manifest

    train = _blobs(rng, "t", 20)
    cohort = _write(tmp_path / "cohort", {f"c{name}": image for name, image in train.items()}, form)
    roots = {
        "train": _write(tmp_path / "train", train, form, side=2 * SIDE),
        "control": _write(tmp_path / "control", _blobs(rng, "k", 12), form, side=2 * SIDE),
        "calibration": _write(tmp_path / "calibration", _blobs(rng, "l", 12), form),
    }
    done: Any = audit_flow(Job(out=tmp_path / "out", policy="pilot"), cohort, roots)
    assert done.verdict in ("FAIL", "INCONCLUSIVE")
    assert [artifact.path.name for artifact in done.stages] == ["accepted", "evidence"]
    read = Manifest.read(tmp_path / "out" / "plain" / "train" / "conformed")
    assert len(read) == len(train)
    assert {scan.shape for scan in read} == {(SIDE, SIDE, 1)}


def test_of_a_foreign_generator_the_attacks_that_need_it_say_not_run(
    server: str, home: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    from flows.audit import audit_flow
    from flows.job import Job
    from medsynth.core.certificate import Certificate
    from privacy.verdict import recompute

    sizes = {"cohort": 20, "train": 20, "control": 12, "calibration": 12}
    roots = {
        name: _write(tmp_path / name, _blobs(rng, name, count), "png")
        for name, count in sizes.items()
    }
    job = Job(out=tmp_path / "out", policy=str(Path(__file__).with_name("everything.toml")))
    done: Any = audit_flow(job, roots.pop("cohort"), roots)
    not_run = {row["gate"]: row["reason"] for row in done.audit["gates"] if row["n"] == 0}
    for gate in ("extraction", "membership", "canary", "differential_privacy"):
        assert "checkpoint" in not_run[gate]
    run = {row["gate"] for row in done.audit["gates"] if row["result"] != "NOT_RUN"}
    assert {"copying", "attributes", "consistency", "partition", "self_test"} <= run
    assert done.verdict != "PASS"
    found = Certificate.read(done.path("evidence") / "certificate.json")
    assert recompute(found.body).word == done.verdict
    assert any("not run: extraction" in line for line in found.body["does_not_show"])


def test_an_audit_without_its_folds_names_what_is_missing(
    server: str, home: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    from flows.audit import audit_flow
    from flows.job import Job
    from medsynth.core.errors import UsageProblem

    cohort = _write(tmp_path / "cohort", _blobs(rng, "c", 4), "png")
    with pytest.raises(UsageProblem, match="--control, --calibration"):
        audit_flow(Job(out=tmp_path / "out", policy="pilot"), cohort, {"train": cohort})
