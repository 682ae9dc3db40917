"""A CT with invented identifiers in the 26 places of reference/ingest.md and in 30 more.

`write_leaky` says what it planted where; `leaks_below` looks for it in every file of a folder, in
names and bytes, in many encodings, and in what gzip, parquet and sqlite hide.
"""

import gzip
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, JPEGLSLossless

NUM_REFERENCE = 26
Needles = Mapping[str, tuple[str, ...]]
PEOPLE = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "PhysiciansOfRecord",
    "RequestingPhysician",
)
TEXTS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "StationName",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers",
    "DeviceSerialNumber",
    "StudyID",
    "PatientBirthDate",
    "StudyDate",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "StudyDescription",
    "ImageComments",
)
ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "shift_jis", "iso2022_jp", "euc_kr", "gb18030")
ENCODINGS += ("iso8859-5", "iso8859-6", "iso8859-7", "cp1251")
PHYSICS = {
    "KVP": "120",
    "SliceThickness": "2.5",
    "SpacingBetweenSlices": "2",
    "ConvolutionKernel": "B30f",
    "Exposure": "250",
    "XRayTubeCurrent": "312",
    "GantryDetectorTilt": "0",
    "PatientPosition": "HFS",
    "BodyPartExamined": "CHEST",
    "PatientAge": "067Y",
    "PatientSex": "F",
    "PatientWeight": "71.5",
    "PatientSize": "1.68",
    "Manufacturer": "Siemens",
}


@dataclass
class Planted:
    """Needles by place; the first 26 places are those of the reference."""

    needles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __call__(self, place: str, text: str, *parts: str) -> str:
        """Remember a text planted at a place; `parts` are searched for alone, too."""
        self.needles[place] = (text, *parts)
        return text


def make_leaky(number: int = 0) -> tuple[FileDataset, Needles]:
    """One CT plane with identifiers everywhere, and what was planted where."""
    plant = Planted()
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"")
    _image(dataset, number)
    _reference(dataset, plant)
    _more_text(dataset, plant)
    _more_nested(dataset, plant)
    _more_binary(dataset, plant)
    return dataset, plant.needles


def write_leaky(folder: Path, count: int = 3) -> Needles:
    """Write a small series under a person's name; returns what was planted where."""
    needles: Needles = {}
    for number in range(count):
        dataset, needles = make_leaky(number)
        path = folder / "Quillfeather_Gertrud" / f"Quillfeather{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
    return {**needles, "file name": ("Quillfeather_Gertrud",)}


def _image(dataset: FileDataset, number: int) -> None:
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.77123.4.{number + 1}"
    meta.TransferSyntaxUID = JPEGLSLossless
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = [-30, -20, -15 + 2 * number]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.75, 0.75]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 24, 20, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 0, 1, -1024
    for keyword, value in PHYSICS.items():
        setattr(dataset, keyword, value)


def _reference(dataset: FileDataset, plant: Planted) -> None:
    """The 26 places of the reference's leak file."""
    dataset.PatientName = plant("name", "Quillfeather^Gertrud=山田^花子", "Quillfeather", "山田")
    dataset.PatientID = plant("id", "MRN-48151623")
    dataset.PatientBirthDate = plant("birth date", "19570314", "1957-03-14")
    dataset.PatientAddress = plant("address", "48 Thistledown Crescent", "Thistledown")
    dataset.PatientTelephoneNumbers = plant("telephone", "+44-7700-900461")
    dataset.AccessionNumber = plant("accession", "ACC0042421337")
    dataset.ReferringPhysicianName = plant("referring", "Okonkwo^Ref", "Okonkwo")
    dataset.PerformingPhysicianName = plant("performing", "Wetherby^Perf", "Wetherby")
    dataset.OperatorsName = plant("operator", "Castellane^Op", "Castellane")
    dataset.StudyDescription = plant("study description", "CT chest for Quillfeather")
    dataset.SeriesDescription = plant("series description", "lung Harbottle", "Harbottle")
    dataset.ProtocolName = plant("protocol", "protocol of Dr Pemberton", "Pemberton")
    dataset.RequestedProcedureDescription = plant("procedure", "CT at Dr Ludgrove's", "Ludgrove")
    dataset.PatientComments = plant("comments", "call next of kin Marchbanks", "Marchbanks")
    dataset.AdditionalPatientHistory = plant("history", "works at Grimsditch Ltd", "Grimsditch")
    dataset.ImageComments = plant("image comments", "seen by Featherstone", "Featherstone")
    nested = Dataset()
    nested.PatientName = plant("nested name", "Nestling^Nora", "Nestling")
    nested.AccessionNumber = plant("nested accession", "NAC90817263")
    nested.PatientBirthDate = plant("nested birth date", "19570415")
    nested.RequestedProcedureDescription = plant("nested description", "asked by Ostrander")
    deep = Dataset()
    deep.PersonName = plant("deep person", "Deepwater^Dora", "Deepwater")
    deep.TextValue = plant("deep text", "says Underhill", "Underhill")
    nested.add_new(0x00400555, "SQ", Sequence([deep]))
    dataset.RequestAttributesSequence = Sequence([nested])
    block = dataset.private_block(0x0029, "ACME HEADER 1.0", create=True)
    block.add_new(0x10, "LO", plant("private", "private MRN-P9876543"))
    dataset.add_new(0x00189999, "UN", plant("unknown tag", "raw Unterberg name ").encode())
    dataset.add_new(0x60000022, "LO", plant("overlay label", "Overlay Vandersloot"))
    dataset.preamble = plant("preamble", "Preamble Winterbottom").encode().ljust(128, b"\0")


def _more_text(dataset: FileDataset, plant: Planted) -> None:
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = plant("sending node", "AE_STOSYTH")
    meta.PrivateInformationCreatorUID = plant("meta creator", "1.2.826.0.1.99887766")
    meta.PrivateInformation = plant("meta private", "meta Bramblewick ").encode()
    dataset.StudyDate = dataset.SeriesDate = plant("study date", "20190823", "2019-08-23")
    dataset.AcquisitionDateTime = plant("date and time", "20190824101112.5+0100", "20190824")
    dataset.StudyTime = "101112"
    dataset.StudyInstanceUID = plant("study uid", "1.2.826.0.1.77123.1")
    dataset.SeriesInstanceUID = plant("series uid", "1.2.826.0.1.77123.2")
    dataset.FrameOfReferenceUID = plant("frame uid", "1.2.826.0.1.77123.3")
    dataset.InstitutionName = plant("institution", "Northwick Infirmary")
    dataset.StationName = plant("station", "CTNORTH7")
    dataset.DeviceSerialNumber = plant("serial", "SN-5550123")
    dataset.OtherPatientIDs = plant("other id", "NHS-9434765919")
    dataset.StudyID = plant("study id", "ST-778812")
    dataset.ScanOptions = plant("coded name", "OKONKWO")
    dataset.FilterType = plant("short text", "Abernathy")
    dataset.Occupation = plant("occupation", "Lord Mayor")
    dataset.DerivationDescription = plant("derivation", "made by Hollingworth")
    dataset.PositionReferenceIndicator = plant("position text", "Quarrington")


def _more_nested(dataset: FileDataset, plant: Planted) -> None:
    equipment = Dataset()
    equipment.Manufacturer = plant("equipment", "Tidewater Imaging", "Tidewater")
    equipment.OperatorsName = plant("equipment operator", "Zeller^Zoe", "Zeller")
    dataset.ContributingEquipmentSequence = Sequence([equipment])
    before = Dataset()
    before.PatientName = plant("original attributes", "Formerly^Fay", "Formerly")
    change = Dataset()
    change.ModifyingSystem = plant("modifying system", "PACS-Dunmore")
    change.ModifiedAttributesSequence = Sequence([before])
    dataset.OriginalAttributesSequence = Sequence([change])
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "QF1", "99LOCAL"
    code.CodeMeaning = plant("local code", "for Mrs Rosenthal", "Rosenthal")
    dataset.ProcedureCodeSequence = Sequence([code])
    three = Dataset()
    three.ReferencedSOPClassUID = CTImageStorage
    three.ReferencedSOPInstanceUID = plant("reference three deep", "1.2.826.0.1.77123.9.9")
    three.add_new(0x00104000, "LT", plant("comment three deep", "known to Bartholomew"))
    two, one = Dataset(), Dataset()
    two.ReferencedSOPSequence = Sequence([three])
    one.ReferencedSeriesSequence = Sequence([two])
    one.StudyInstanceUID = dataset.StudyInstanceUID
    dataset.StudiesContainingOtherReferencedInstancesSequence = Sequence([one])
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 4, 8, 8
    icon.PixelData = plant("icon", "icon of Lindqvist and his cat...").encode()
    dataset.IconImageSequence = Sequence([icon])


def _more_binary(dataset: FileDataset, plant: Planted) -> None:
    block = dataset.private_block(0x0051, "ACME NESTED", create=True)
    inner = b"\x10\x00\x10\x00" + (20).to_bytes(4, "little")
    inner += plant("private sequence", "Privatus^Sequentia  ", "Privatus").encode()
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    block.add_new(0x01, "UN", item)
    dataset.add_new(0x50003000, "OW", plant("curve", "curve of Eskildsen").encode())
    dataset.add_new(0x60003000, "OW", plant("overlay", "overlay Fontaigne ").encode())
    dataset.add_new(0x60004000, "LT", plant("overlay comment", "Grzelak was here"))
    dataset.add_new(0x00282000, "OB", plant("color profile", "ICC for Huxtable").encode())
    dataset.EncapsulatedDocument = plant("document", "pdf about Ishimura").encode()
    dataset.DocumentTitle = plant("document title", "letter to Jankelow", "Jankelow")
    signature = Dataset()
    signature.CertificateOfSigner = plant("signature", "signed by Silverton ").encode()
    dataset.DigitalSignaturesSequence = Sequence([signature])
    trailer = plant("trailing padding", "padding Rotherham ").encode()
    dataset.add_new(0xFFFCFFFC, "OB", trailer)
    frame = imagecodecs.jpegls_encode(pixels_of(int(dataset.InstanceNumber)))
    text = plant("comment in the pixels", "JPEG by Stromberg").encode()
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    dataset.PixelData = encapsulate([frame[:2] + comment + frame[2:]])
    dataset["PixelData"].is_undefined_length = True


def pixels_of(number: int) -> np.ndarray:
    """The stored pixels of a plane, rows x columns."""
    return np.random.default_rng(number).integers(0, 4096, (24, 20)).astype(np.uint16)


def readable(path: Path) -> Iterator[bytes]:
    """All that can be read in a file: its bytes and what gzip, parquet or sqlite hide."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PAR1":
        yield json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()
    elif data[:15] == b"SQLite format 3":
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            yield "\n".join(database.iterdump()).encode(errors="replace")


def leaks_below(folder: Path, needles: Needles) -> set[str]:
    """Places of which any needle stands below a folder, in a file's name or content."""
    found: set[str] = set()
    forms = {place: _forms(texts) for place, texts in needles.items()}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        for data in (path.relative_to(folder).as_posix().encode(), *readable(path)):
            found |= {place for place, many in forms.items() if any(form in data for form in many)}
    return found


def _forms(texts: tuple[str, ...]) -> set[bytes]:
    """A text in every encoding that can write it."""
    forms = set()
    for text in texts:
        for encoding in ENCODINGS:
            try:
                forms.add(text.strip().encode(encoding))
            except UnicodeEncodeError:
                continue
    return {form for form in forms if len(form) > 3}


def name_parts(dataset: Dataset) -> list[str]:
    """Components of every person's name, at any depth, by pydicom's decoding."""
    names = [str(v) for e in dataset.iterall() if e.VR == "PN" for v in _several(e.value)]
    parts = {part.strip() for name in names for part in re.split(r"[\^=]", name)}
    return [part for part in parts if len(part) > 3 or (len(part) > 1 and not part.isascii())]


def needles_of_archive(phi: Path) -> Needles:
    """Every whole value and name component of make_archive's answer key, times left out."""
    needles: dict[str, tuple[str, ...]] = {}
    for number, entry in enumerate(json.loads(phi.read_text())):
        for name, value in entry["patient"].items():
            needles[f"{name} {number}"] = (value, *(p for p in value.split("^") if len(p) > 6))
        for study in entry["studies"]:
            for name, value in study.items():
                if name != "StudyTime" and not name.endswith("Date"):
                    needles[f"{name} {study['AccessionNumber']}"] = (value,)
    return needles


def needles_of_files(folder: Path) -> Needles:
    """What the headers below a folder say of people, places, dates, UIDs and in private text."""
    needles: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.rglob("*.dcm")):
        dataset = dcmread(path, force=True)
        for name in PEOPLE:
            needles |= {f"{name} {path.stem}": tuple(_parts_of(dataset, name))}
        for name in TEXTS:
            texts = [str(v).strip() for v in _several(dataset.get(name))]
            needles |= {f"{name} {path.stem}": tuple(t for t in texts if len(t) > 4)}
        private = [str(e.value) for e in dataset if e.tag.is_private and e.VR in ("LO", "SH", "PN")]
        words = [t for t in private if len(t) > 7 and not _is_creator(t, dataset)]
        needles |= {f"private {path.stem}": tuple(words)}
    return {place: texts for place, texts in needles.items() if texts}


def _several(value: object) -> list[object]:
    if value in (None, ""):
        return []
    return list(value) if isinstance(value, MultiValue) else [value]


def _parts_of(dataset: Dataset, name: str) -> list[str]:
    texts = [str(value) for value in _several(dataset.get(name))]
    return [part for text in texts for part in [text, *re.split(r"[\^ ]", text)] if len(part) > 4]


def _is_creator(text: str, dataset: Dataset) -> bool:
    return any(e.tag.is_private_creator and str(e.value) == text for e in dataset)
