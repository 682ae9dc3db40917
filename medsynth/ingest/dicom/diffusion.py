"""Diffusion encoding of one plane: its b-value and its direction in the patient's frame.

Standard elements first, then each vendor's own. Directions are unit vectors in DICOM's LPS; what
would have to be guessed is refused. Private elements are found by their creator.
Sources: DICOM PS3.3, C.8.13.5.9; Siemens and United Imaging (patient frame, LPS); Philips (RL, AP,
FH: LPS); GE (frame of the image: read-out and phase directions, normal reversed).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.csa import csa_numbers
from medsynth.ingest.dicom.elements import Elements, Source
from medsynth.ingest.dicom.private import private_tag

_GE_BIAS = 1_000_000_000  # GE adds it to b-values of multi-shell protocols
_GE_SCALED = 0.03, 0.97  # length of a direction that scales the b-value by its square
_AXIAL = 0.7  # smallest z of the normal of a plane that counts as axial
_UNIT = 0.05  # how far the length of a direction may be from 1
_DIRECTED = ("DIRECTIONAL", "BMATRIX")


@dataclass(frozen=True, slots=True)
class Diffusion:
    """A b-value (s/mm2), a unit direction in LPS, either None where it is not said."""

    b_value: float | None = None
    direction: tuple[float, ...] | None = None
    directionality: str = ""
    flags: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What two planes of one volume must share."""
        direction = ",".join(f"{x + 0.0:.4f}" for x in self.direction or ())
        return ("" if self.b_value is None else f"{self.b_value:g}", direction, self.directionality)

    @property
    def acquisition(self) -> tuple[tuple[str, Any], ...]:
        """The items by DICOM keyword."""
        found: list[tuple[str, Any]] = []
        if self.b_value is not None:
            found.append(("DiffusionBValue", self.b_value))
        if self.direction is not None:
            found.append(("DiffusionGradientOrientation", self.direction))
        if self.directionality:
            found.append(("DiffusionDirectionality", self.directionality))
        return tuple(found)


_NONE = Diffusion()


def diffusion_of(
    source: Source, elements: Elements, orientation: tuple[float, ...] | None
) -> Diffusion:
    """The diffusion encoding of a plane; raises UnreadableScan where it is not understood."""
    if source.text("Modality") != "MR":
        return _NONE
    standard = _standard(source)
    if standard.b_value is not None and (standard.direction or standard.b_value == 0):
        return standard
    vendor = source.text("Manufacturer").lower()
    for name, read in _VENDORS.items():
        if name in vendor:
            private = read(elements, orientation)
            if private.b_value is not None:
                return private
    is_raw = {"ORIGINAL", "DIFFUSION"} <= set(_words(source))
    lacks_direction = standard.b_value and standard.directionality in _DIRECTED
    if lacks_direction or (standard.b_value is None and is_raw):
        raise UnreadableScan("unknown_diffusion")
    return standard


def _words(source: Source) -> list[str]:
    return (source.text("FrameType") or source.text("ImageType")).upper().split("\\")


def _standard(source: Source) -> Diffusion:
    b_value = source.numbers("DiffusionBValue")
    kind = source.text("DiffusionDirectionality").upper()
    kind = kind if kind in ("DIRECTIONAL", "BMATRIX", "ISOTROPIC", "NONE") else ""
    if len(b_value) != 1:
        return _NONE
    direction = source.numbers("DiffusionGradientOrientation") if kind != "ISOTROPIC" else ()
    return Diffusion(float(b_value[0]), _unit(direction), kind)


def _unit(direction: tuple[float, ...]) -> tuple[float, ...] | None:
    """A direction that has one; raises UnreadableScan where it is no unit vector."""
    if len(direction) != 3 or not any(direction):
        return None
    length = float(np.linalg.norm(direction))
    if not abs(length - 1) <= _UNIT:
        raise UnreadableScan("unknown_diffusion")
    return tuple(float(x) for x in direction)


def _siemens(elements: Elements, orientation: tuple[float, ...] | None) -> Diffusion:
    block = "SIEMENS MR HEADER"
    b_value = elements.numbers(private_tag(elements, 0x0019, block, 0x0C), "IS")
    direction = elements.numbers(private_tag(elements, 0x0019, block, 0x0E), "FD")
    if not b_value and "DIFFUSION" in elements.text("ImageType").upper():
        csa = elements.raw(private_tag(elements, 0x0029, "SIEMENS CSA HEADER", 0x10))
        b_value = csa_numbers(csa, "B_value")
        direction = csa_numbers(csa, "DiffusionGradientDirection")
    if not b_value:
        return _NONE
    return Diffusion(float(b_value[0]), _unit(direction))


def _philips(elements: Elements, orientation: tuple[float, ...] | None) -> Diffusion:
    b_value = elements.numbers(private_tag(elements, 0x2001, "Philips Imaging DD 001", 0x03), "FL")
    block = "Philips MR Imaging DD 001"
    parts = [elements.numbers(private_tag(elements, 0x2005, block, at), "FL") for at in _RL_AP_FH]
    if not b_value:
        return _NONE
    # A trace image has a b-value and a direction of zeros.
    return Diffusion(float(b_value[0]), _unit(tuple(part[0] for part in parts if part)))


_RL_AP_FH = (0xB0, 0xB1, 0xB2)


def _united_imaging(elements: Elements, orientation: tuple[float, ...] | None) -> Diffusion:
    block = "Image Private Header"
    b_value = elements.numbers(private_tag(elements, 0x0065, block, 0x09), "FD")
    direction = elements.numbers(private_tag(elements, 0x0065, block, 0x37), "FD")
    return Diffusion(float(b_value[0]), _unit(direction)) if b_value else _NONE


def _ge(elements: Elements, orientation: tuple[float, ...] | None) -> Diffusion:
    values = elements.numbers(private_tag(elements, 0x0043, "GEMS_PARM_01", 0x39), "IS")
    block = "GEMS_ACQU_01"
    parts = [elements.numbers(private_tag(elements, 0x0019, block, at), "DS") for at in _X_Y_Z]
    if not values:
        return _NONE
    b_value, vector = float(values[0] % _GE_BIAS), tuple(part[0] for part in parts if part)
    length = float(np.linalg.norm(vector)) if len(vector) == 3 else 0.0
    if not b_value or not length:
        return Diffusion(b_value)
    if _GE_SCALED[0] < length < _GE_SCALED[1]:
        b_value = max(5.0, 5.0 * int((b_value * length**2 + 2.5) / 5))
        vector = tuple(x / length for x in vector)
    unit = _unit(vector)
    assert unit is not None
    direction, flags = _from_image(elements, np.array(unit), orientation)
    return Diffusion(b_value, direction, "", flags)


_X_Y_Z = (0xBB, 0xBC, 0xBD)


def _from_image(
    elements: Elements, unit: Any, orientation: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """GE's direction in the patient, of axial planes; data confirm it for phase along columns."""
    phase = elements.text("InPlanePhaseEncodingDirection").upper()
    if orientation is None:
        raise UnreadableScan("unknown_diffusion")
    axes = np.array(orientation).reshape(2, 3)
    normal = np.cross(*axes)
    if abs(normal[2]) < _AXIAL:
        raise UnreadableScan("unknown_diffusion")
    across, down = (unit[1], -unit[0]) if phase.startswith("ROW") else (unit[0], unit[1])
    direction = axes[0] * across + axes[1] * down - normal * unit[2]
    assumed = () if phase.startswith("COL") else ("gradient_frame_assumed",)
    return tuple(float(x) + 0.0 for x in direction), assumed


_VENDORS = {
    "siemens": _siemens,
    "philips": _philips,
    "ge medical": _ge,
    "ge healthcare": _ge,
    "uih": _united_imaging,
    "united imaging": _united_imaging,
}
