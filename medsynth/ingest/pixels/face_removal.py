"""Removing the face of a head: an affine registration to a template, and two planes in it.

The template head (4 mm) and the planes are derived from pydeface 2.1.0 (MIT License, Copyright (c)
2015; FACE_TEMPLATE.md). What lies before the one plane and below the other is the face, as far as
the field of view reaches.
"""

import importlib
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float

from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Geometry, Volume
from medsynth.ingest.pixels.head import GRID, Head, find_head

_TEMPLATE = Path(__file__).parent / "face_template.nii.gz"
_MARGIN = 7.0  # mm by which the face is taken larger than in the template
# Template mm, (normal, distance): a point is face where normal . point > distance for both.
_BEHIND = (np.array([0.0, 1.0, 0.0]), 57.7)
_ABOVE = (np.array([0.0, 0.427, -1.0]) / np.hypot(0.427, 1.0), 66.2 / np.hypot(0.427, 1.0))
_PITCHES = (-20.0, 0.0, 20.0)  # degrees of nodding from which the registration starts
_SAMPLED = 0.4  # share of the grid on which the images are compared
_SEED = 1
_VOLUME_CHANGE = (0.5, 2.0)  # of the registration; beyond, it has failed


def remove_face(volume: Volume, head: Head) -> Volume | None:
    """The volume with the darkest value where its face was; none where no registration holds."""
    to_template = register(head)
    change = abs(float(np.linalg.det(to_template[:3, :3])))
    if not _VOLUME_CHANGE[0] <= change <= _VOLUME_CHANGE[1]:
        return None
    array = volume.array.copy()
    darkest = np.percentile(volume.array[0, ::4, ::4], 0.5)
    array[0][face_mask(volume.geometry, to_template)] = darkest
    return Volume(array, volume.geometry)


def face_mask(
    geometry: Geometry, to_template: Float[np.ndarray, "4 4"], margin: float = _MARGIN
) -> Bool[np.ndarray, "i j k"]:
    """Voxels before the first plane and below the second, `margin` mm more on either."""
    affine = to_template @ geometry.affine
    i, j, k = np.ogrid[tuple(slice(side) for side in geometry.spatial_shape)]
    is_face = np.ones(geometry.spatial_shape, dtype=bool)
    for normal, distance in (_BEHIND, _ABOVE):
        a, b, c = normal @ affine[:3, :3]
        start = normal @ affine[:3, 3]
        is_face &= a * i + b * j + c * k > distance - start - margin
    return is_face


def register(head: Head) -> Float[np.ndarray, "4 4"]:
    """The affine map from the volume's RAS+ mm to the template's, by mutual information."""
    sitk = simple_itk()
    fixed = _image(sitk, head.values, head.corner)
    template = _template()
    moving = _image(sitk, template.values, template.corner)
    best: tuple[float, Any] | None = None
    for pitch in _PITCHES:
        transform = sitk.AffineTransform(_start(head, template, pitch).ravel().tolist(), [0.0] * 3)
        transform.SetCenter([head.middle, head.front - head.size[1] / 2, head.crown - 75.0])
        center = [template.middle, template.front - template.size[1] / 2, template.crown - 75.0]
        transform.SetTranslation((np.array(center) - np.array(transform.GetCenter())).tolist())
        value = _descend(sitk, fixed, moving, transform, iterations=30, shrink=2)
        if best is None or value < best[0]:
            best = (value, transform)
    assert best is not None
    _descend(sitk, fixed, moving, best[1], iterations=100, shrink=1)
    return _matrix(best[1])


def simple_itk() -> Any:
    """SimpleITK, which only defacing needs."""
    try:
        return importlib.import_module("SimpleITK")
    except ImportError:
        raise UsageProblem(
            "removing faces needs SimpleITK: install medsynth[faces], or set pixels.faces to "
            "'refuse' or 'keep'"
        ) from None


def _start(head: Head, template: Head, pitch: float) -> Float[np.ndarray, "3 3"]:
    """The vaults laid over each other, nodding by `pitch` degrees."""
    width, length = (t / h for t, h in zip(template.size, head.size, strict=True))
    angle = np.deg2rad(pitch)
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    return turn @ np.diag([width, length, (width + length) / 2])


def _descend(
    sitk: Any, fixed: Any, moving: Any, transform: Any, *, iterations: int, shrink: int
) -> float:
    """Improve the transform in place; the value of the metric, smaller is better."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in one order: the same scan gives the same mask
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLED, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, iterations, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([float(shrink) * GRID / 2])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return float(method.GetMetricValue())


def _image(sitk: Any, values: Float[np.ndarray, "x y z"], corner: Float[np.ndarray, " 3"]) -> Any:
    """An ITK image; its world is RAS+ on both sides, which registration does not mind."""
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0).astype(np.float32))
    image.SetSpacing([GRID] * 3)
    image.SetOrigin(corner.tolist())
    return image


def _matrix(transform: Any) -> Float[np.ndarray, "4 4"]:
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    center, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, shift + center - matrix @ center
    return affine


@cache
def _template() -> Head:
    image: Any = nib.load(_TEMPLATE)
    array = np.asarray(image.dataobj)
    i, j, k = array.shape
    head = find_head(Volume(array[None], Geometry((i, j, k), image.affine)), coarse=True)
    assert head is not None
    return head
