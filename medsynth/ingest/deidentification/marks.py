"""What a de-identified file says of itself (PS3.15 E.1.1, PS3.3 C.12.1)."""

from functools import cache
from importlib.metadata import version

from pydicom.dataset import Dataset

from medsynth.ingest.deidentification.options import Profile
from medsynth.ingest.deidentification.table import EDITION


@cache
def _version() -> str:
    return version("medsynth")


def mark(dataset: Dataset, profile: Profile) -> None:
    """Patient Identity Removed, the method in words and codes, and what became of dates."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [
        f"medsynth {_version()}: PS3.15 Annex E {EDITION}, default deny",
        *(meaning[:64] for _, meaning in profile.codes),
    ]
    dataset.DeidentificationMethodCodeSequence = [_item(*code) for code in profile.codes]
    dataset.LongitudinalTemporalInformationModified = profile.temporal


def _item(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning[:64]
    return item
