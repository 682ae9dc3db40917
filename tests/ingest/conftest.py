"""A series whose voxels tell their own position, and archives with planted identifiers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medsynth.core.geometry import Volume
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, Scan, load_scan
from medsynth.core.stage import Artifact
from medsynth.ingest import quarantine
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.phantom_archive import write_phantom_archive
from medsynth.ingest.quarantine import read_quarantine

# The builder of cases (matrix/) is shared with benchmarks/, so it is imported by its own name.
sys.path.insert(0, str(Path(__file__).parent))

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ORIGIN = np.array([-30.0, -20.0, -15.0])


def field(lps: np.ndarray) -> np.ndarray:
    """What a voxel at this LPS position (mm) must hold."""
    return np.round(lps @ [0.9, 1.7, 3.1] + 50)


def make_plane(
    position: np.ndarray,
    *,
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float] = (1.0, 1.0),
    shape: tuple[int, int] = (12, 10),
    slope: float = 1.0,
    intercept: float = -1024.0,
    constant: float = 0.0,
    **tags: Any,
) -> Dataset:
    """One signed 16-bit CT plane (rows, columns) at a position, in LPS mm."""
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    lps = position + across * spacing[1] * columns[..., None] + down * spacing[0] * rows[..., None]
    stored = np.round((field(lps) + constant - intercept) / slope).astype("<i2")
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4", "1.2.3"
    dataset.PatientID, dataset.PatientName = "P1", "Doe^Jane"
    dataset.ImagePositionPatient = [f"{x:.9g}" for x in position]
    dataset.ImageOrientationPatient = [f"{x:.9g}" for x in orientation]
    dataset.PixelSpacing = [str(mm) for mm in spacing]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *shape, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
    dataset.PixelData = stored.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def make_series(count: int = 8, step: tuple[float, ...] = (0, 0, 2), **tags: Any) -> list[Dataset]:
    """Planes from the default origin on."""
    planes = [make_plane(ORIGIN + np.array(step) * k, **tags) for k in range(count)]
    for number, plane in enumerate(planes):
        plane.InstanceNumber = number + 1
    return planes


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_all(planes: list[Dataset], folder: Path, seed: int = 0) -> Path:
    """Write planes under names that say nothing of their order."""
    names = np.random.default_rng(seed).permutation(len(planes))
    for name, plane in zip(names, planes, strict=True):
        save(plane, folder / f"IM{name:03d}")
    return folder


def worst_error(volume: Volume, constant: float = 0.0) -> float:
    """How far any voxel is from what its place in the patient says."""
    indices = np.indices(volume.geometry.spatial_shape).reshape(3, -1).T
    affine = volume.geometry.affine
    ras = indices @ affine[:3, :3].T + affine[:3, 3]
    wanted = ras * [-1, -1, 1] @ [0.9, 1.7, 3.1] + 50 + constant
    return float(np.abs(volume.array[0].ravel().astype(float) - wanted).max())


@pytest.fixture(autouse=True)
def _wrong_shapes_are_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The boundary that catches everything must not hide what the shape checks find."""
    reason_of = quarantine.reason_of

    def strict_reason_of(error: Exception, otherwise: str) -> str:
        if isinstance(error, TypeCheckError):
            raise error
        return reason_of(error, otherwise)

    monkeypatch.setattr(quarantine, "reason_of", strict_reason_of)


@pytest.fixture
def kit() -> SimpleNamespace:
    """Makes, saves and judges series."""
    return SimpleNamespace(
        plane=make_plane,
        series=make_series,
        save=save,
        save_all=save_all,
        worst_error=worst_error,
        origin=ORIGIN,
        at=lambda *offset: ORIGIN + np.array(offset),
    )


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[dict[str, int], list[tuple[Scan, Volume]]]]:
    """Ingest a folder; returns (quarantine, scans with their volumes in order of size)."""

    def run(
        source: Path, config: IngestConfig | None = None, table: Path | None = None
    ) -> tuple[dict[str, int], list[tuple[Scan, Volume]]]:
        config = config or IngestConfig(min_matrix=1, localizers=True)
        made = ingest(source, tmp_path / "out", DEMO_KEYS, config, table=table)
        scans = [(scan, load_scan(made.path, scan)) for scan in Manifest.read(made.path)]
        scans.sort(key=lambda pair: (pair[1].array.size, float(pair[1].array.mean())))
        return read_quarantine(made.path), scans

    return run


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], tuple[Path, Any]]:
    """`written(case)`: the folder of a case of the matrix, written once, and its right answer."""
    root = tmp_path_factory.mktemp("matrix")
    known: dict[str, tuple[Path, Any]] = {}

    def write(each: Any) -> tuple[Path, Any]:
        if each.name not in known:
            folder = root / f"{len(known):03d}"
            known[each.name] = (folder, each.write(folder))
        return known[each.name]

    return write


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom archive with every kind of broken file."""
    return write_phantom_archive(tmp_path_factory.mktemp("a") / "p", num_subjects=40, size=24)


@pytest.fixture(scope="session")
def phantom_manifest(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("phantoms")
    return ingest(phantoms / "dicom", out, DEMO_KEYS, table=phantoms / "clinical.csv")


@pytest.fixture(scope="session")
def hospital(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real brain slices as DICOM with planted identifiers, by ../shared/tools/make_archive.py."""
    folder = tmp_path_factory.mktemp("hospital") / "archive"
    tool, cohort = shared / "tools/make_archive.py", shared / "data/cohort2d/soop_brain_128"
    command = [sys.executable, str(tool), str(cohort), str(folder), "--patients", "60"]
    subprocess.run(command, check=True, capture_output=True)
    return folder
