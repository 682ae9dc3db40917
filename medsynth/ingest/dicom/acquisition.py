"""The physics of a scan in numbers and coded words, under a closed list of DICOM keywords.

What is kept here travels as `Provenance.acquisition`: no free text, no name, no date.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np

from medsynth.ingest.dicom.diffusion import Diffusion
from medsynth.ingest.dicom.elements import Elements, Source
from medsynth.ingest.dicom.frame import shared_mapping

NUMBERS: dict[str, tuple[str, ...]] = {
    "EchoTime": ("EchoTime", "EffectiveEchoTime"),  # ms
    "EchoNumbers": ("EchoNumbers",),
    "RepetitionTime": ("RepetitionTime",),  # ms
    "InversionTime": ("InversionTime", "InversionTimes"),  # ms
    "FlipAngle": ("FlipAngle",),  # degrees
    "EchoTrainLength": ("EchoTrainLength",),
    "NumberOfAverages": ("NumberOfAverages",),
    "PixelBandwidth": ("PixelBandwidth",),  # Hz per pixel
    "MagneticFieldStrength": ("MagneticFieldStrength",),  # T
    "ImagingFrequency": ("ImagingFrequency",),  # MHz
    "SliceThickness": ("SliceThickness",),  # mm
    "TemporalPositionIndex": ("TemporalPositionIndex", "TemporalPositionIdentifier"),
    "TriggerTime": ("TriggerTime", "NominalCardiacTriggerDelayTime"),  # ms
    "KVP": ("KVP",),  # kV
    "XRayTubeCurrent": ("XRayTubeCurrent", "XRayTubeCurrentInmA"),  # mA
    "Exposure": ("Exposure", "ExposureInmAs"),  # mAs
    "ExposureTime": ("ExposureTime", "ExposureTimeInms"),  # ms
    "GantryDetectorTilt": ("GantryDetectorTilt",),  # degrees, as the header says
    "SpiralPitchFactor": ("SpiralPitchFactor",),
    "ReconstructionDiameter": ("ReconstructionDiameter",),  # mm
    "ActualFrameDuration": ("ActualFrameDuration",),  # ms
    "FrameReferenceTime": ("FrameReferenceTime",),  # ms
}
"""Keywords with one number each, and the elements that may hold it, the first first."""
WORDS: dict[str, tuple[str, ...]] = {
    "Units": ("BQML", "CNTS", "CPS", "GML", "PROPCNTS", "PROPCPS", "NONE", "CM2ML"),
    "DecayCorrection": ("NONE", "START", "ADMIN"),
    "RescaleType": ("HU", "US", "MGML", "Z_EFF", "ED", "NORMALIZED", "OD"),
    "ComplexImageComponent": ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"),
}
"""Keywords with one coded word each, and the words that are let through."""
_PHILIPS_SCALE_SLOPE = 0x2005100E


def acquisition_of(source: Source, elements: Elements, diffusion: Diffusion) -> Mapping[str, Any]:
    """What one plane's elements say of its physics."""
    found: dict[str, Any] = {}
    for key, names in NUMBERS.items():
        values = next((v for name in names if (v := source.numbers(name))), ())
        if len(values) == 1 and np.isfinite(values[0]):
            found[key] = float(values[0])
    for key, known in WORDS.items():
        if (word := source.text(key).upper()) in known:
            found[key] = word
    if _PHILIPS_SCALE_SLOPE in elements:
        # Philips stores a second, private scaling; ours is the standard one, and says so.
        found["Scaling"] = "rescale"
    return shared_mapping(*found.items(), *diffusion.acquisition)


def agreed(acquisitions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What all planes of a volume agree on."""
    first, *others = acquisitions
    kept = dict(first)
    for other in {id(o): o for o in others}.values():
        kept = {key: value for key, value in kept.items() if other.get(key) == value}
    return dict(sorted(kept.items()))


def moment_of(source: Source) -> tuple[tuple[float, ...], ...]:
    """What may tell volumes at one place apart, the most telling first; empty where absent."""
    dimensions: tuple[float, ...] = getattr(source, "dimensions", ())
    physics = source.numbers("InversionTime") + source.numbers("FlipAngle")
    return (
        dimensions,
        physics,
        source.numbers("AcquisitionNumber"),
        source.numbers("TriggerTime"),
        _seconds(source),
        _clock(source.text("ContentTime")),
        source.numbers("InstanceNumber"),
    )


def _seconds(source: Source) -> tuple[float, ...]:
    """When a plane was taken, s from a fixed day."""
    stamp = source.text("FrameAcquisitionDateTime") or source.text("AcquisitionDateTime")
    day, time = stamp[:8], _clock(stamp[8:].split("+")[0].split("-")[0])
    if not time:
        day, time = source.text("AcquisitionDate"), _clock(source.text("AcquisitionTime"))
    if not time:
        return ()
    return (_day(day) * 86400.0 + time[0],)


def _day(text: str) -> int:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return 0


def _clock(text: str) -> tuple[float, ...]:
    """Seconds since midnight of HHMMSS.FFFFFF, which may be cut short; empty where absent."""
    text = text.replace(":", "")
    if len(text) < 2 or not text.replace(".", "").isdigit():
        return ()
    padded = text.split(".")[0].ljust(6, "0")
    fraction = float(f"0.{text.partition('.')[2] or 0}")
    return (int(padded[:2]) * 3600.0 + int(padded[2:4]) * 60.0 + int(padded[4:6]) + fraction,)
