"""Which files may be rewritten at all: their tags must not say that pixels show text."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.deidentification.options import DeidentifyConfig
from medsynth.ingest.deidentification.values import several
from medsynth.ingest.dicom.header import first_bytes, inflated
from medsynth.ingest.source import InputFile

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_CAPTURED = frozenset(("SCREEN SAVE", "SCREENSAVE", "SECONDARY CAPTURE"))
_OFTEN_ANNOTATED = ("US", "ES", "XC", "OT")
_META_START = 132 + 12  # preamble, "DICM", the group length's own element


def read_dataset(file: InputFile, max_bytes: int) -> Dataset:
    """A whole DICOM file; a deflated one is inflated under the cap first."""
    if file.size > max_bytes:
        raise UnreadableScan("too_large")
    if DeflatedExplicitVRLittleEndian.encode() not in first_bytes(file, 2048):
        return dcmread(file.path, force=True)
    start = _META_START + int(read_file_meta_info(file.path).FileMetaInformationGroupLength)
    plain = FileMetaDataset()
    plain.TransferSyntaxUID = ExplicitVRLittleEndian
    meta = DicomBytesIO()
    write_file_meta_info(meta, plain, enforce_standard=False)
    body = inflated(file, max_bytes, start)
    return dcmread(BytesIO(bytes(128) + b"DICM" + meta.getvalue() + body))


def check_admitted(dataset: Dataset, config: DeidentifyConfig) -> None:
    """Raises UnreadableScan for captures and for pixels that show text, or may well do so."""
    kinds = {str(word).upper() for word in several(dataset.get("ImageType"))}
    is_capture = str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE)
    if (is_capture or kinds & _CAPTURED) and not config.secondary_capture:
        raise UnreadableScan("secondary_capture")
    said = str(dataset.get("BurnedInAnnotation") or "").upper()
    is_color = int(dataset.get("SamplesPerPixel") or 1) > 1
    is_often = is_color or dataset.get("Modality") in _OFTEN_ANNOTATED
    if said == "YES" or (is_often and said != "NO" and not is_capture):
        raise UnreadableScan("burned_in_text")


def is_left_out(dataset: Dataset, config: DeidentifyConfig) -> bool:
    """Whether it is a localizer that the configuration does not want."""
    kinds = {str(word).upper() for word in several(dataset.get("ImageType"))}
    return "LOCALIZER" in kinds and not config.localizers
