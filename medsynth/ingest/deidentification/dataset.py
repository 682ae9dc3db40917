"""One file's data set, de-identified: checks, what may be kept, marks and a new file header."""

from collections import Counter
from functools import partial

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import Keys
from medsynth.ingest.deidentification.cleaner import cleaner_of
from medsynth.ingest.deidentification.codestream import blank_comments
from medsynth.ingest.deidentification.dates import age_of
from medsynth.ingest.deidentification.marks import mark
from medsynth.ingest.deidentification.modules import top_level
from medsynth.ingest.deidentification.options import Option, Profile
from medsynth.ingest.deidentification.uids import IMPLEMENTATION_UID


def deidentify_dataset(
    dataset: Dataset, keys: Keys, profile: Profile, tally: Counter[str] | None = None
) -> Dataset:
    """A new data set, ready to be saved, of what may be kept; `tally` counts what was done.

    Pixels stay bit for bit; comments inside compressed ones are blanked. Raises UnreadableScan
    for a SOP class that is no image of ours, no patient to name, graphics in unused pixel bits.
    """
    allowed = top_level(str(dataset.get("SOPClassUID", "")))
    if not allowed:
        raise UnreadableScan("unsupported_sop_class")
    if not str(dataset.get("PatientID") or "").strip():
        raise UnreadableScan("no_subject")
    _check_overlays(dataset)
    counts: Counter[str] = Counter() if tally is None else tally
    clean = cleaner_of(dataset, keys, profile, counts).clean(dataset, allowed)
    clean.SpecificCharacterSet = "ISO_IR 192"
    if profile.has(Option.PATIENT_CHARACTERISTICS) and (age := age_of(dataset)):
        clean.PatientAge = age
    mark(clean, profile)
    clean.file_meta = _file_meta(dataset, clean)
    if "PixelData" in clean:
        if not clean.PixelData:
            raise UnreadableScan("truncated")
        is_encapsulated = clean.file_meta.TransferSyntaxUID.is_encapsulated
        bare = blank_comments if is_encapsulated else partial(_without_trailer, clean)
        clean["PixelData"].value = bare(clean.PixelData)
    return clean


def _without_trailer(dataset: Dataset, pixels: bytes) -> bytes:
    """Native pixels without what some files hold behind the last one."""
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return pixels
    count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    length = -(-count * int(dataset.BitsAllocated) // 8)
    return pixels[: length + length % 2]


def _check_overlays(dataset: Dataset) -> None:
    """Old overlays lie in the pixels' unused bits, with which they would travel (PS3.3 C.9.2)."""
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x0102) in dataset and dataset[group, 0x0102].value:
            raise UnreadableScan("embedded_overlay")


def _file_meta(dataset: Dataset, clean: Dataset) -> FileMetaDataset:
    """A new header: nothing of the old one but its transfer syntax."""
    is_implicit, is_little = dataset.original_encoding
    plain = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    given = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    stored = plain if is_little is not False else ExplicitVRBigEndian
    meta.TransferSyntaxUID = UID(str(given or stored))
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "MEDSYNTH"
    return meta
