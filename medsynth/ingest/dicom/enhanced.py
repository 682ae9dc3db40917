"""Enhanced multi-frame images: what holds for each frame, and what it shares with the others.

A frame's own functional groups win over the shared ones, these over the elements of the whole.
Source: DICOM PS3.3, C.7.6.16 (Multi-frame Functional Groups), C.7.6.17 (Dimensions).
"""

from collections.abc import Sequence

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.elements import Elements

GROUPS = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRModifierSequence",
    "MRImagingModifierSequence",
    "MRAveragesSequence",
    "MRDiffusionSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "CTXRayDetailsSequence",
    "CTExposureSequence",
    "CTAcquisitionDetailsSequence",
    "TemporalPositionSequence",
    "CardiacSynchronizationSequence",
    "FrameAnatomySequence",
)
"""Functional group macros that are read."""
_NESTED = ("DiffusionGradientDirectionSequence",)
_PLACE_POINTERS = {0x00209056, 0x00209057, 0x00200032, 0x00200037}
"""Dimensions that say where a frame lies: stack, place in it, position, orientation."""


class Layers:
    """Elements laid over each other: the first layer that has a value is heard."""

    def __init__(self, layers: Sequence[Elements], dimensions: tuple[float, ...] = ()) -> None:
        self._layers, self.dimensions = layers, dimensions

    def text(self, name: str) -> str:
        """A value as text, stripped; empty where absent."""
        return next((text for layer in self._layers if (text := layer.text(name))), "")

    def numbers(self, name: str) -> tuple[float, ...]:
        """A value's numbers; empty where absent."""
        return next((found for layer in self._layers if (found := layer.numbers(name))), ())

    def items(self, name: str) -> list[Elements]:
        """The items of a sequence; empty where absent."""
        return next((found for layer in self._layers if (found := layer.items(name))), [])


def frame_sources(elements: Elements, count: int) -> list[Layers] | None:
    """The sources of every frame in stored order; None where the image is no enhanced one."""
    own = elements.items("PerFrameFunctionalGroupsSequence")
    shared = elements.items("SharedFunctionalGroupsSequence")
    if not own and not shared:
        return None
    if len(own) != count and not (count == 1 and not own):
        raise UnreadableScan("multi_frame")
    common = [layer for item in shared[:1] for layer in _macros(item)]
    varying = _varying_dimensions(elements)
    frames = []
    for mine in [_macros(item) for item in own] or [[]]:
        frames.append(Layers([*mine, *common, elements], _dimensions(mine, varying)))
    return frames


def _macros(item: Elements) -> list[Elements]:
    found = [macro for name in GROUPS for macro in item.items(name)[:1]]
    return [*found, *(deeper for one in found for name in _NESTED for deeper in one.items(name))]


def _varying_dimensions(elements: Elements) -> list[int]:
    """The places in DimensionIndexValues of what is not a frame's location."""
    pointers = [
        item.raw("DimensionIndexPointer") for item in elements.items("DimensionIndexSequence")
    ]
    tags = [
        int.from_bytes(p[:2], "little") << 16 | int.from_bytes(p[2:4], "little") for p in pointers
    ]
    return [at for at, tag in enumerate(tags) if tag not in _PLACE_POINTERS]


def _dimensions(layers: Sequence[Elements], varying: Sequence[int]) -> tuple[float, ...]:
    values = next((v for layer in layers if (v := layer.numbers("DimensionIndexValues"))), ())
    return tuple(float(values[at]) for at in varying if at < len(values))
