"""Enhanced multi-frame images: geometry and rescale in functional groups (PS3.3, C.7.6.16)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matrix.phantom import Grid, identify, put_pixels, stored, values_of
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"


@dataclass(frozen=True)
class Frame:
    """One frame: its plane, its own rescale, and what is added to its field."""

    grid: Grid
    constant: float = 0.0
    slope: float = 1.0
    intercept: float = -1024.0
    groups: dict[str, Dataset] = field(default_factory=dict)


def item(**tags: Any) -> Dataset:
    """A dataset of these elements."""
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def _macro(name: str, **tags: Any) -> tuple[str, Dataset]:
    return name, item(**tags)


def echo(milliseconds: float) -> dict[str, Dataset]:
    """MR Echo macro."""
    return dict([_macro("MREchoSequence", EffectiveEchoTime=milliseconds)])


def content(**tags: Any) -> dict[str, Dataset]:
    """Frame Content macro."""
    return dict([_macro("FrameContentSequence", **tags)])


def diffusion(b_value: float, direction: Sequence[float] | None = None) -> dict[str, Dataset]:
    """MR Diffusion macro; a direction in LPS."""
    group = item(DiffusionBValue=float(b_value), DiffusionDirectionality="NONE")
    if direction is not None:
        group.DiffusionDirectionality = "DIRECTIONAL"
        inner = item(DiffusionGradientOrientation=[float(x) for x in direction])
        group.DiffusionGradientDirectionSequence = Items([inner])
    return {"MRDiffusionSequence": group}


def _rescale(frame: Frame, kind: str) -> Dataset:
    return item(
        RescaleSlope=f"{frame.slope:.10g}",
        RescaleIntercept=f"{frame.intercept:.10g}",
        RescaleType=kind,
    )


def _geometry(frame: Frame) -> dict[str, Dataset]:
    numbers = [f"{x:.10g}" for x in frame.grid.orientation]
    spacing = [f"{mm:.10g}" for mm in frame.grid.spacing]
    return {
        "PlaneOrientationSequence": item(ImageOrientationPatient=numbers),
        "PixelMeasuresSequence": item(PixelSpacing=spacing, SliceThickness="2"),
    }


def enhanced(
    frames: Sequence[Frame],
    *,
    storage: str = ENHANCED_CT,
    modality: str = "CT",
    is_shared: bool = True,
    kind: str = "HU",
    **tags: Any,
) -> Dataset:
    """A multi-frame image; `is_shared`: orientation, spacing and rescale hold for all frames."""
    dataset = Dataset()
    identify(dataset, modality, storage)
    dataset.NumberOfFrames, (dataset.Rows, dataset.Columns) = len(frames), frames[0].grid.shape
    pixels = [stored(values_of(f.grid, f.constant), f.slope, f.intercept) for f in frames]
    put_pixels(dataset, np.stack(pixels))
    same = {**_geometry(frames[0]), "PixelValueTransformationSequence": _rescale(frames[0], kind)}
    shared = Dataset()
    for name, group in same.items() if is_shared else ():
        setattr(shared, name, Items([group]))
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_per_frame(frame, number, kind, is_shared) for number, frame in enumerate(frames)]
    )
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def _per_frame(frame: Frame, number: int, kind: str, is_shared: bool) -> Dataset:
    position = item(ImagePositionPatient=[f"{x:.10g}" for x in frame.grid.position])
    groups = {"PlanePositionSequence": position, **content(InStackPositionNumber=number + 1)}
    if not is_shared:
        groups |= {**_geometry(frame), "PixelValueTransformationSequence": _rescale(frame, kind)}
    dataset = Dataset()
    for name, group in {**groups, **frame.groups}.items():
        setattr(dataset, name, Items([group]))
    return dataset


def frames_of(
    count: int, *, grid: Grid, step: Sequence[float] = (0.0, 0.0, 2.0), **about: Any
) -> list[Frame]:
    """Frames one step apart."""
    return [Frame(grid.moved(np.array(step) * k), **about) for k in range(count)]


def truth(dataset: Dataset, frames: Sequence[Frame]) -> list[tuple[str, Grid]]:
    """(SOP instance, plane) of each frame."""
    return [(str(dataset.SOPInstanceUID), frame.grid) for frame in frames]
