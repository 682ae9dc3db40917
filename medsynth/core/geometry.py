"""Where voxels lie in the patient: RAS+ millimetres, NIfTI's convention.

Reference: NIfTI-1 standard, method 3 (sform); nibabel, "Coordinate systems and affines".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped
from nibabel.orientations import (
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
)

STORED_DTYPES = ("uint8", "int16", "uint16", "float32")


@dataclass(frozen=True, eq=False)
class Geometry:
    """Spatial shape (I, J, K) and the affine from voxel indices to RAS+ millimetres."""

    spatial_shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        # A file holds it in single precision, where it must be as good.
        with np.errstate(over="ignore"):
            stored = affine.astype(np.float32).astype(np.float64)
        if affine.shape != (4, 4) or not np.isfinite(stored).all():
            raise ValueError(f"affine must be a finite 4x4 matrix, got shape {affine.shape}")
        if not abs(np.linalg.det(stored[:3, :3])) >= 1e-9:
            raise ValueError("affine must be invertible, got a singular matrix")
        if len(self.spatial_shape) != 3 or min(self.spatial_shape) < 1:
            raise ValueError(
                f"spatial shape must be three positive counts, got {self.spatial_shape}"
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighboring voxels along each axis, mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def is_ras(self) -> bool:
        """Whether the axes already run closest to right, anterior, superior."""
        return bool((io_orientation(self.affine) == [[0, 1], [1, 1], [2, 1]]).all())


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels (C, I, J, K) and where they lie; a 2D image has K = 1."""

    array: Shaped[np.ndarray, "channels i j k"]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.array.shape[1:] != self.geometry.spatial_shape:
            shape = self.geometry.spatial_shape
            raise ValueError(f"array must have spatial shape {shape}, got {self.array.shape}")


def to_ras(volume: Volume) -> Volume:
    """The same voxels with axes permuted and flipped to RAS+; nothing is resampled."""
    orientation = io_orientation(volume.geometry.affine)
    channels = [np.ascontiguousarray(apply_orientation(c, orientation)) for c in volume.array]
    affine = volume.geometry.affine @ inv_ornt_aff(orientation, volume.geometry.spatial_shape)
    array = np.stack(channels)
    i, j, k = array.shape[1:]
    return Volume(array, Geometry((i, j, k), affine))


def write_volume(path: Path, volume: Volume) -> None:
    """Write one channel as uncompressed NIfTI, in millimetres, with no scale factor and no text."""
    channels, dtype = len(volume.array), volume.array.dtype.name
    if channels != 1 or dtype not in STORED_DTYPES:
        raise ValueError(
            f"a stored volume has one channel of {STORED_DTYPES}, got {channels} of {dtype}"
        )
    nib.save(nifti_image(volume), path)


def nifti_image(volume: Volume) -> Any:
    """The volume's one channel as a nibabel image; a sheared one gets no qform."""
    image = nib.Nifti1Image(volume.array[0], volume.geometry.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    image.set_sform(volume.geometry.affine, code=1)
    axes = volume.geometry.affine[:3, :3] / volume.geometry.spacing
    is_orthogonal = np.allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    if is_orthogonal:
        image.set_qform(volume.geometry.affine, code=1)
    return image


def read_volume(path: Path) -> Volume:
    """A volume that `write_volume` wrote, memory-mapped."""
    image: Any = nib.load(path, mmap=True)
    array = np.asarray(image.dataobj)
    if array.ndim == 2:
        array = array[..., None]
    i, j, k = array.shape
    return Volume(array[None], Geometry((i, j, k), image.affine))
