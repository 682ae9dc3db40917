"""Default deny: what may be known of a scan outside the archive, and under which name.

Voxels, geometry and declared attributes go on; every name is keyed; nothing a reader of files
says (warnings, log lines, exception texts quote element values) travels at all.
"""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from medsynth.core.keys import Keys


def subject_id_of(keys: Keys, patient: str) -> str:
    """Our name of the person whom the archive calls `patient`."""
    return keys.subject_id(patient)


def scan_id_of(keys: Keys, series: str, image: str) -> str:
    """Our name of the volume whose first image, by UID or path, is `image`."""
    return keys.scan_id(series, image)


def keyed_planes(keys: Keys, planes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The SOP instances of each plane, joined by "+": kept inside, never exported."""
    return tuple("+".join(f"sop-{keys.digest('sop', u)[:24]}" for u in plane) for plane in planes)


def image_path_of(keys: Keys, dataset: Dataset) -> Path:
    """Where a rewritten image lies: subject, study, series and instance, each by its keyed name."""
    subject = subject_id_of(keys, str(dataset.PatientID).strip())
    levels = (
        ("study", "StudyInstanceUID"),
        ("series", "SeriesInstanceUID"),
        ("image", "SOPInstanceUID"),
    )
    names = [f"{level}-{keys.digest(level, str(dataset[tag].value))[:16]}" for level, tag in levels]
    return Path(subject, *names).with_suffix(".dcm")
