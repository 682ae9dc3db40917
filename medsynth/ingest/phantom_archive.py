"""A hospital-like DICOM archive of phantoms: several vendors, planted identifiers, broken files.

FOLDER/dicom/        one folder per study, one DICOM file per image
FOLDER/clinical.csv  the lesion, which no DICOM tag carries, by PatientID and AccessionNumber
FOLDER/phi.json      answer key: every identifier planted, by patient; none may survive ingest

Everybody is invented. The same seed writes the same bytes and times, so that what was made of the
archive is found again; person n is the same in an archive of any size.
"""

import csv
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from medsynth.ingest.phantom import Person, draw_person, draw_phantom

FIELD_OF_VIEW = 240.0  # mm
WHITE = 3200  # intensity of the brightest tissue, the same for every vendor
_EPOCH = 1_600_000_000  # modification time of every file
_FAMILY = ("Abendroth", "Brackwater", "Corvane", "Dunmarrow", "Elderfield", "Fennimore", "Gosling")
_GIVEN = ("Adelina", "Bartholo", "Cosima", "Desmond", "Eulalia", "Ferdinand", "Griselda")
_SITES = ("Larkspur Infirmary", "St Wenna General", "Copperbeck Clinic")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_STUDY = ("AccessionNumber", "StudyDate", "StudyTime", "InstitutionName", *_UIDS)


@dataclass(frozen=True)
class Scanner:
    """One make of scanner; `slope` is its RescaleSlope."""

    manufacturer: str
    model: str
    field: str
    series: str
    slope: str


SCANNERS = (
    Scanner("SIEMENS", "Skyra", "3", "t2_tirm_tra_dark-fluid", "1"),
    Scanner("GE MEDICAL SYSTEMS", "SIGNA Voyager", "1.5", "AX FLAIR", "1"),
    Scanner("Philips Medical Systems", "Ingenia", "3", "FLAIR_longTR", "2"),
    Scanner("Siemens Healthineers", "Aera", "1.5", "FLAIR tra", "1"),
)


@dataclass(frozen=True)
class Patient:
    """One invented patient: identifiers, what the header says, and where randomness comes from."""

    number: int
    identifiers: Mapping[str, str]
    person: Person
    scanner: Scanner
    draw: random.Random
    pixels: Float[np.ndarray, "size size"]


def write_phantom_archive(
    folder: Path, *, num_subjects: int = 420, size: int = 64, seed: int = 0
) -> Path:
    """Write the archive into a new folder and return it."""
    folder.mkdir(parents=True, exist_ok=False)
    rows, key = [], []
    for number in range(num_subjects):
        patient = _patient(number, size, seed)
        images = _images(patient)
        studies = [_planted(image) for image in images]
        for position, image in enumerate(images):
            _save(folder / "dicom" / image.AccessionNumber / f"IM{position + 1:04d}", image)
        if number < len(BREAKAGES):
            studies.append(_write_broken(folder / "dicom", patient, images[0]))
        rows.append(_clinical_row(patient, images[0]))
        key.append({"patient": dict(patient.identifiers), "studies": studies})
    _write_table(folder / "clinical.csv", rows)
    (folder / "phi.json").write_text(json.dumps(key, indent=1))
    _set_times(folder)
    return folder


def _patient(number: int, size: int, seed: int) -> Patient:
    draw, rng = random.Random(f"{seed}/{number}"), np.random.default_rng([seed, number])
    person = draw_person(rng)
    age, sex, lesion = float(person.age), person.sex, person.lesion
    pixels = draw_phantom(rng, age=age, sex=sex, lesion=lesion, size=size)
    return Patient(number, _identity(draw, number), person, draw.choice(SCANNERS), draw, pixels)


def _identity(draw: random.Random, number: int) -> dict[str, str]:
    tag = f"{number:05d}{draw.randrange(1000):03d}"
    return {
        "PatientName": f"{draw.choice(_FAMILY)}{tag}^{draw.choice(_GIVEN)}",
        "PatientID": f"MRN-{tag}",
        "PatientAddress": f"{tag} Thistledown Lane",
        "PatientTelephoneNumbers": f"+44-{tag}",
        "ReferringPhysicianName": f"Ref{tag}^Doc",
        "OperatorsName": f"Op{tag}^Tech",
        "PatientComments": f"call next of kin {tag}",
        "OtherPatientNames": f"Alias{tag}",
    }


def _images(patient: Patient) -> list[Dataset]:
    """The study's images: an axial slice; for every fifth patient a small localizer before it."""
    image = _image(patient)
    if patient.number % 5:
        return [image]
    small = patient.pixels[::2, ::2]
    localizer = _image(patient, small, ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"])
    for name in ("AccessionNumber", "StudyInstanceUID", "StudyDate", "StudyTime"):
        setattr(localizer, name, image[name].value)
    localizer.SeriesDescription = f"localizer for {patient.identifiers['OtherPatientNames']}"
    return [image, localizer]


def _image(
    patient: Patient,
    pixels: Float[np.ndarray, "rows columns"] | None = None,
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "M", "NORM"),
) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = list(image_type)
    dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"
    for name in _UIDS:
        setattr(dataset, name, f"2.25.{patient.draw.getrandbits(126)}")
    for name, value in patient.identifiers.items():
        setattr(dataset, name, value)
    _describe(dataset, patient)
    _add_sequence(dataset, patient.scanner)
    _add_private(dataset, patient)
    _add_pixels(dataset, patient.pixels if pixels is None else pixels, patient.scanner)
    return dataset


def _describe(dataset: Dataset, patient: Patient) -> None:
    draw, person = patient.draw, patient.person
    year = 2015 + draw.randrange(10)
    day = f"{year}{1 + draw.randrange(12):02d}{1 + draw.randrange(28):02d}"
    hour = f"{draw.randrange(24):02d}{draw.randrange(60):02d}00"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = hour
    dataset.AccessionNumber = f"ACC{patient.number:06d}{draw.randrange(1000):03d}"
    has_age, has_sex = draw.random() >= 0.1, draw.random() >= 0.1
    dataset.PatientSex = person.sex if has_sex else ""
    dataset.PatientBirthDate = f"{year - person.age}0101" if has_age else ""
    if has_age:
        dataset.PatientAge = f"{person.age:03d}Y"
    dataset.InstitutionName = draw.choice(_SITES)
    family = patient.identifiers["PatientName"].split("^")[0]
    dataset.StudyDescription = f"MR head for {family}"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1


def _add_sequence(dataset: Dataset, scanner: Scanner) -> None:
    dataset.Manufacturer, dataset.ManufacturerModelName = scanner.manufacturer, scanner.model
    dataset.SeriesDescription, dataset.ProtocolName = scanner.series, scanner.series
    dataset.BodyPartExamined, dataset.PatientPosition = "HEAD", "HFS"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = ["SE", "IR"], "SK", ""
    dataset.MRAcquisitionType, dataset.MagneticFieldStrength = "2D", scanner.field
    dataset.EchoTime, dataset.RepetitionTime, dataset.InversionTime = "120", "9000", "2500"
    dataset.EchoTrainLength, dataset.FlipAngle = "16", "150"


def _add_private(dataset: Dataset, patient: Patient) -> None:
    block = dataset.private_block(0x0029, "ACME HEADER 1.0", create=True)
    block.add_new(0x10, "LO", f"private {patient.identifiers['PatientID']}")
    secret = f"raw {patient.identifiers['PatientName']}".encode()
    block.add_new(0x11, "UN", secret + b" " * (len(secret) % 2))


def _add_pixels(
    dataset: Dataset, pixels: Float[np.ndarray, "rows columns"], scanner: Scanner
) -> None:
    rows, columns = pixels.shape
    side = FIELD_OF_VIEW / rows
    dataset.PixelSpacing, dataset.SliceThickness = [f"{side:.6g}"] * 2, "5"
    corner = side / 2 - FIELD_OF_VIEW / 2
    dataset.ImagePositionPatient = [corner, corner, 20]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", scanner.slope, "US"
    stored = np.round(pixels * (WHITE / float(scanner.slope)))
    dataset.PixelData = stored.astype("<u2").tobytes()


def _planted(dataset: Dataset) -> dict[str, str]:
    return {name: str(dataset[name].value) for name in _STUDY}


def _save(path: Path, dataset: Dataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    dataset.save_as(path, enforce_file_format=True)


def _clinical_row(patient: Patient, image: Dataset) -> dict[str, str]:
    is_known = patient.draw.random() >= 0.03
    lesion = ("yes" if patient.person.lesion else "no") if is_known else ""
    return {
        "PatientID": patient.identifiers["PatientID"],
        "AccessionNumber": str(image.AccessionNumber),
        "lesion": lesion,
    }


def _write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["PatientID", "AccessionNumber", "lesion"])
        writer.writeheader()
        writer.writerows(rows)


def _set_times(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (_EPOCH, _EPOCH))


BREAKAGES = {
    "empty": "empty",
    "text": "not_an_image",
    "noise": "not_an_image",
    "cut": "truncated",
    "cut_in_header": "truncated",
    "without_pixels": "not_an_image",
    "sent_twice": "duplicate",
    "sent_again": "duplicate",
    "screenshot": "secondary_capture",
    "colored": "color",
    "without_position": "no_geometry",
    "nameless": "no_subject",
    "gigantic": "too_large",
    "odd_length": "truncated",
}
"""What is wrong with the extra file of patient 0, 1, ... and the reason that ingest must give."""


def _write_broken(dicom: Path, patient: Patient, image: Dataset) -> dict[str, str]:
    """One more file of this patient, broken its own way; returns what it plants."""
    how = list(BREAKAGES)[patient.number]
    broken = image if how in ("sent_twice", "sent_again") else _image(patient)
    broken.AccessionNumber = image.AccessionNumber
    path = dicom / str(image.AccessionNumber) / "IM0009"
    _spoil(how, broken)
    _save(path, broken)
    data = path.read_bytes()
    path.write_bytes(_spoiled_bytes(how, data))
    return _planted(broken)


def _spoil(how: str, dataset: Dataset) -> None:
    if how == "without_pixels":
        del dataset.PixelData
    elif how == "sent_again":
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[:-4]}7777"
        dataset.InstanceNumber = 2
    elif how == "screenshot":
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    elif how == "colored":
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration, dataset.PixelData = 0, dataset.PixelData * 3
    elif how == "without_position":
        del dataset.ImagePositionPatient
    elif how == "nameless":
        dataset.PatientID = ""
    elif how == "gigantic":
        dataset.Rows = dataset.Columns = 60000


def _spoiled_bytes(how: str, data: bytes) -> bytes:
    whole = {
        "empty": b"",
        "text": b"Dear colleague, the images will follow by courier.\n",
        "noise": random.Random(how).randbytes(4096),
        "cut": data[: len(data) * 3 // 5],
        "cut_in_header": data[:400],
        "odd_length": data[:-101],
    }
    return whole.get(how, data)
