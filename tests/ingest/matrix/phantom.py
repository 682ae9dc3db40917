"""DICOM images whose voxels tell their own position, one plane (a sheet) at a time.

The linear field is the one of reference/ingest.md, section 1: a value tests geometry, order,
rescale and sign at once. Linear interpolation reproduces it exactly, so a curved one stands
beside it where interpolation itself is judged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

Numbers = Sequence[float]
Field = Callable[[np.ndarray], np.ndarray]

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
ORIGIN = (-30.0, -20.0, -15.0)
SERIES = "1.2.826.0.1.3680043.8.498.1"


def linear(lps: np.ndarray) -> np.ndarray:
    """0.9x + 1.7y + 3.1z + 50 at positions (..., 3) in LPS mm."""
    return lps @ np.array([0.9, 1.7, 3.1]) + 50


def curved(lps: np.ndarray) -> np.ndarray:
    """The linear field and a wave along z of 40 units, 25 mm long."""
    return linear(lps) + 40 * np.sin(2 * np.pi * lps[..., 2] / 25)


@dataclass(frozen=True)
class Grid:
    """Where one plane lies: position and cosines in LPS, spacing (rows, columns) in mm."""

    position: Numbers = ORIGIN
    orientation: Numbers = AXIAL
    spacing: tuple[float, float] = (1.0, 1.0)
    shape: tuple[int, int] = (48, 64)

    @property
    def points(self) -> np.ndarray:
        """LPS mm of every pixel, (rows, columns, 3)."""
        rows, columns = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        across, down = np.array(self.orientation).reshape(2, 3)
        steps = (
            across * self.spacing[1] * columns[..., None] + down * self.spacing[0] * rows[..., None]
        )
        return np.array(self.position) + steps

    @property
    def center(self) -> tuple[float, ...]:
        """LPS mm of the middle of the plane."""
        return tuple(self.points.mean(axis=(0, 1)))

    @property
    def normal(self) -> np.ndarray:
        """Unit normal: the cross product of row and column direction."""
        across, down = np.array(self.orientation).reshape(2, 3)
        normal = np.cross(across, down)
        return normal / np.linalg.norm(normal)

    def moved(self, offset: Numbers) -> "Grid":
        """The same plane elsewhere."""
        return replace(self, position=tuple(np.add(self.position, offset)))


@dataclass(frozen=True)
class Sheet:
    """One image and the truth about it: where it lies and what is added to its field."""

    dataset: Dataset
    grid: Grid
    constant: float = 0.0

    @property
    def uid(self) -> str:
        """Its SOP instance, where it has one."""
        return str(self.dataset.get("SOPInstanceUID", ""))


def values_of(grid: Grid, constant: float = 0.0, field: Field = linear) -> np.ndarray:
    """What the pixels of a plane must hold after rescaling."""
    return np.round(field(grid.points)) + constant


def stored(values: np.ndarray, slope: float, intercept: float, dtype: str = "<i2") -> np.ndarray:
    """Values as a scanner stores them."""
    numbers = np.round((values - intercept) / slope)
    info = np.iinfo(dtype)
    assert numbers.min() >= info.min
    assert numbers.max() <= info.max
    return numbers.astype(dtype)


def describe(dataset: Dataset, grid: Grid) -> None:
    """Write geometry into a classic image."""
    dataset.ImagePositionPatient = [f"{x:.10g}" for x in grid.position]
    dataset.ImageOrientationPatient = [f"{x:.10g}" for x in grid.orientation]
    dataset.PixelSpacing = [f"{mm:.10g}" for mm in grid.spacing]
    dataset.Rows, dataset.Columns = grid.shape


def identify(dataset: Dataset, modality: str, storage: str) -> None:
    """Write whose image it is, and what."""
    dataset.SOPClassUID, dataset.Modality = storage, modality
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = SERIES, "1.2.826.0.1.3680043.8.498"
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.2"
    dataset.PatientID, dataset.PatientName = "P1", "Doe^Jane"
    dataset.StudyDate, dataset.SeriesNumber, dataset.AcquisitionNumber = "20200102", 1, 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]


def put_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Write native integer pixels (rows, columns) or (frames, rows, columns)."""
    bits = pixels.dtype.itemsize * 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def sheet(
    grid: Grid,
    *,
    slope: float = 1.0,
    intercept: float = -1024.0,
    constant: float = 0.0,
    field: Field = linear,
    dtype: str = "<i2",
    **tags: Any,
) -> Sheet:
    """One classic image; `tags` are set last, None removes one."""
    dataset = Dataset()
    modality = tags.get("Modality", "CT")
    identify(dataset, modality, MRImageStorage if modality == "MR" else CTImageStorage)
    describe(dataset, grid)
    dataset.SliceThickness = "2"
    put_pixels(dataset, stored(values_of(grid, constant, field), slope, intercept, dtype))
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return Sheet(dataset, grid, constant)


def series(
    count: int = 20,
    step: Numbers = (0.0, 0.0, 2.0),
    *,
    grid: Grid | None = None,
    first: int = 1,
    **options: Any,
) -> list[Sheet]:
    """The default series of section 1: planes from the origin on, numbered from `first`."""
    start = grid or Grid()
    sheets = [sheet(start.moved(np.array(step) * k), **options) for k in range(count)]
    for number, one in enumerate(sheets):
        one.dataset.InstanceNumber = first + number
    return sheets


SMALL = Grid(shape=(20, 24))
"""A smaller plane, for cases whose size says nothing."""


def small(count: int = 8, **options: Any) -> list[Sheet]:
    """A short series of small planes."""
    return series(count, grid=options.pop("grid", SMALL), **options)
