"""A generated archive with an answer key in MIDI-B's form: for each attribute, what must be done.

The key is written by hand from PS3.15 Annex E for the basic profile with patient characteristics
and modified dates; it does not look at the code's own table. Actions: keep, cap (an age), blank,
replace, remove, shift (one shift per subject), uid (one new name per UID, everywhere).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

NAMES = ("Aurelia^Quist", "Bertrand^Holm=山田^太郎", "Ωμέγα^Ελένη", "Иванов^Пётр", "Jean^Curé")
CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
}
COMMON: dict[str, tuple[str, Any]] = {
    "ImageType": ("keep", ["ORIGINAL", "PRIMARY", "AXIAL"]),
    "BodyPartExamined": ("keep", "CHEST"),
    "PatientSex": ("keep", "F"),
    "PatientWeight": ("keep", "71.5"),
    "PatientSize": ("keep", "1.68"),
    "SeriesNumber": ("keep", 3),
    "AcquisitionNumber": ("keep", 1),
    "WindowCenter": ("keep", [40, 300]),
    "WindowWidth": ("keep", [400, 1500]),
    "BurnedInAnnotation": ("keep", "NO"),
    "LossyImageCompression": ("keep", "00"),
    "RescaleSlope": ("keep", "1.25"),
    "RescaleIntercept": ("keep", "-1024"),
    "StudyTime": ("keep", "101112.250"),
    "ContentTime": ("keep", "101113"),
    "AccessionNumber": ("blank", "ACC-{n}"),
    "ReferringPhysicianName": ("blank", "{name}"),
    "StudyID": ("blank", "ST{n}"),
    "PatientBirthDate": ("blank", "19510612"),
    "InstitutionName": ("remove", "Northwick Infirmary"),
    "InstitutionAddress": ("remove", "{n} Quillfeather Lane"),
    "InstitutionalDepartmentName": ("remove", "Radiology of {name}"),
    "StationName": ("remove", "CTN{n}"),
    "OperatorsName": ("remove", "{name}"),
    "PerformingPhysicianName": ("remove", "{name}"),
    "PhysiciansOfRecord": ("remove", "{name}"),
    "StudyDescription": ("remove", "CT chest for {name}"),
    "SeriesDescription": ("remove", "lung {n}"),
    "PatientAddress": ("remove", "{n} Thistledown Crescent"),
    "PatientTelephoneNumbers": ("remove", "+44-{n}"),
    "OtherPatientIDs": ("remove", "NHS-{n}"),
    "OtherPatientNames": ("remove", "{name}"),
    "PatientComments": ("remove", "call next of kin {name}"),
    "ImageComments": ("remove", "seen by {name}"),
    "AdditionalPatientHistory": ("remove", "worked with {name}"),
    "MedicalAlerts": ("remove", "allergic to {name}"),
    "Occupation": ("remove", "Lord Mayor"),
    "DeviceSerialNumber": ("remove", "SN{n}"),
    "PerformedProcedureStepID": ("remove", "PPS{n}"),
    "PerformedProcedureStepDescription": ("remove", "done by {name}"),
    "RequestedProcedureDescription": ("remove", "asked by {name}"),
    "IssuerOfPatientID": ("remove", "Trust {n}"),
    "AdmissionID": ("remove", "ADM{n}"),
    "PatientMotherBirthName": ("remove", "{name}"),
    "CurrentPatientLocation": ("remove", "Ward {n}"),
    "DerivationDescription": ("remove", "by {name}"),
    "DataSetTrailingPadding": ("remove", b"pad Rotherham "),
}
BY_MODALITY: dict[str, dict[str, tuple[str, Any]]] = {
    "CT": {
        "KVP": ("keep", "120"),
        "SliceThickness": ("keep", "2.5"),
        "Exposure": ("keep", "250"),
        "ConvolutionKernel": ("keep", "B30f"),
        "GantryDetectorTilt": ("keep", "0"),
        "PatientPosition": ("keep", "HFS"),
        "ProtocolName": ("remove", "protocol of {name}"),
    },
    "MR": {
        "EchoTime": ("keep", "90.5"),
        "RepetitionTime": ("keep", "4400"),
        "InversionTime": ("keep", "2500"),
        "FlipAngle": ("keep", "150"),
        "MagneticFieldStrength": ("keep", "2.8936"),
        "EchoTrainLength": ("keep", 16),
        "ScanningSequence": ("keep", ["SE", "IR"]),
        "SequenceVariant": ("keep", "SK"),
        "ScanOptions": ("keep", "FS"),
        "MRAcquisitionType": ("keep", "2D"),
        "SliceThickness": ("keep", "5"),
        "SpacingBetweenSlices": ("keep", "5.5"),
        "ImagedNucleus": ("keep", "1H"),
    },
    "DX": {
        "ViewPosition": ("keep", "AP"),
        "ImageLaterality": ("keep", "U"),
        "PresentationIntentType": ("keep", "FOR PRESENTATION"),
        "PixelIntensityRelationship": ("keep", "LIN"),
        "ImagerPixelSpacing": ("keep", [0.2, 0.2]),
        "KVP": ("keep", "81"),
        "ExposureIndex": ("keep", "319"),
        "DetectorID": ("remove", "DET{n}"),
    },
}


@dataclass(frozen=True)
class Answer:
    """What must become of one attribute of one file; `path` joins keywords by dots."""

    file: int
    subject: int
    path: str
    action: str
    before: Any = field(hash=False)


def write_keyed(folder: Path, num_subjects: int = 12, seed: int = 0) -> list[Answer]:
    """Write CT, MR and DX of each subject, three images each; returns the answer key."""
    folder.mkdir(parents=True)
    rng, answers = random.Random(seed), []
    for subject in range(num_subjects):
        for study, modality in enumerate(CLASSES):
            day = date(2012, 1, 1) + timedelta(days=rng.randrange(3000))
            for number in range(3):
                file = (subject * len(CLASSES) + study) * 3 + number
                dataset, key = _make(rng, subject, modality, number, day)
                dataset.save_as(folder / f"{file:05d}.dcm", enforce_file_format=True)
                answers += [Answer(file, subject, *row) for row in key]
    return answers


def _make(
    rng: random.Random, subject: int, modality: str, number: int, day: date
) -> tuple[FileDataset, list[tuple[str, str, Any]]]:
    """One file and its key: (path, action, value before)."""
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"Preamble".ljust(128))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    fill = {"n": f"{subject:04d}{rng.randrange(10**6):06d}", "name": NAMES[subject % len(NAMES)]}
    key: list[tuple[str, str, Any]] = []

    def put(path: str, action: str, value: Any) -> None:
        target = dataset
        for sequence in path.split(".")[:-1]:
            if sequence not in target:
                setattr(target, sequence, Sequence([Dataset()]))
            target = target[sequence].value[0]
        setattr(target, path.split(".")[-1], value)
        key.append((path, action, value))

    for name, (action, value) in {**COMMON, **BY_MODALITY[modality]}.items():
        if rng.random() < 0.85:
            put(name, action, value.format(**fill) if isinstance(value, str) else value)
    _put_names(put, rng, subject, modality, number, day, fill["name"])
    _put_nested(put, rng, fill)
    _put_image(put, rng, modality, number)
    block = dataset.private_block(0x0029, "ACME HEADER 1.0", create=True)
    block.add_new(0x10, "LO", f"private {fill['n']}")
    key.append((str(block.get_tag(0x10)), "remove", None))
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset, key


def _put_names(
    put: Any, rng: random.Random, subject: int, modality: str, number: int, day: date, name: str
) -> None:
    study = f"1.2.826.0.1.5555.{subject}.{day:%Y%m%d}"
    put("SOPClassUID", "keep", CLASSES[modality])
    put("Modality", "keep", modality)
    put("StudyInstanceUID", "uid", study)
    put("SeriesInstanceUID", "uid", f"{study}.1")
    put("SOPInstanceUID", "uid", f"{study}.1.{number + 1}")
    put("FrameOfReferenceUID", "uid", f"{study}.7")
    put("InstanceNumber", "keep", number + 1)
    put("PatientID", "replace", f"MRN-{subject:08d}")
    put("PatientName", "replace", name)
    put("PatientAge", "cap", rng.choice(["067Y", "089Y", "095Y", "101Y", "018M", "010D"]))
    put("StudyDate", "shift", f"{day:%Y%m%d}")
    put("SeriesDate", "shift", f"{day:%Y%m%d}")
    put("AcquisitionDate", "shift", f"{day + timedelta(days=rng.randrange(2)):%Y%m%d}")
    put("AcquisitionDateTime", "shift", f"{day:%Y%m%d}101112.5")
    others = number - 1 if number else 1
    put("ReferencedImageSequence.ReferencedSOPClassUID", "keep", CLASSES[modality])
    put("ReferencedImageSequence.ReferencedSOPInstanceUID", "uid", f"{study}.1.{others + 1}")


def _put_nested(put: Any, rng: random.Random, fill: dict[str, str]) -> None:
    put("AnatomicRegionSequence.CodeValue", "keep", "80891009")
    put("AnatomicRegionSequence.CodingSchemeDesignator", "keep", "SCT")
    put("AnatomicRegionSequence.CodeMeaning", "keep", "Heart")
    if rng.random() < 0.7:
        put("RequestAttributesSequence.ScheduledProcedureStepID", "remove", fill["n"])
        put("OriginalAttributesSequence.ModifyingSystem", "remove", f"PACS{fill['n']}")
        put("ReferencedPatientSequence.ReferencedSOPInstanceUID", "remove", "1.2.3.4.5")
        put("ProcedureCodeSequence.CodeMeaning", "remove", f"for {fill['name']}")


def _put_image(put: Any, rng: random.Random, modality: str, number: int) -> None:
    if modality != "DX":
        put("ImagePositionPatient", "keep", [-30.125, -20, 2.5 * number])
        put("ImageOrientationPatient", "keep", [1, 0, 0, 0, 1, 0])
        put("PixelSpacing", "keep", [0.75, 0.75])
    for name, value in (("Rows", 16), ("Columns", 12), ("SamplesPerPixel", 1)):
        put(name, "keep", value)
    for name, value in (("BitsAllocated", 16), ("BitsStored", 12), ("HighBit", 11)):
        put(name, "keep", value)
    put("PixelRepresentation", "keep", 0)
    put("PhotometricInterpretation", "keep", "MONOCHROME2")
    put("PixelData", "keep", rng.randbytes(16 * 12 * 2))


def score(answers: list[Answer], outputs: dict[int, Dataset]) -> list[Answer]:
    """The answers that the outputs, by number of the file they come from, get wrong."""
    days: dict[int, set[int]] = {}
    named: dict[str, set[str]] = {}
    wrong = []
    for answer in answers:
        after = _found(outputs.get(answer.file, Dataset()), answer.path)
        if answer.action == "shift" and after:
            days.setdefault(answer.subject, set()).add(_days(answer.before, str(after)))
        elif answer.action == "uid" and after:
            named.setdefault(str(answer.before), set()).add(str(after))
        if not _is_right(answer, after):
            wrong.append(answer)
    for answer in answers:
        same_shift = len(days.get(answer.subject, ())) == 1
        same_name = len(named.get(str(answer.before), ())) == 1
        if (answer.action == "shift" and not same_shift) or (
            answer.action == "uid" and not same_name
        ):
            wrong.append(answer)
    return wrong


def missing_references(outputs: dict[int, Dataset]) -> int:
    """How many references of the outputs, one of each, are gone or lead to no output."""
    there = {dataset.get("SOPInstanceUID") for dataset in outputs.values()} - {None, ""}
    return sum(uid not in there for d in outputs.values() for uid in _references(d))


def _references(dataset: Dataset) -> Iterator[str]:
    items = dataset.get("ReferencedImageSequence") or [Dataset()]
    yield from (item.get("ReferencedSOPInstanceUID", "") for item in items)


def _found(dataset: Dataset, path: str) -> Any:
    """The value at a path; None where it is absent, "" where it is empty."""
    value: Any = dataset
    for name in path.split("."):
        value = value[0] if isinstance(value, Sequence) and len(value) else value
        tag = tuple(int(part, 16) for part in name.strip("()").split(",")) if "," in name else name
        if not isinstance(value, Dataset) or tag not in value:
            return None
        value = value[tag].value
    return "" if value is None else value


def _is_right(answer: Answer, after: Any) -> bool:
    before = answer.before
    match answer.action:
        case "keep":
            return after is not None and _same(before, after)
        case "cap":
            old = before.endswith("Y") and int(before[:3]) >= 89
            return str(after) == ("089Y" if old else before)
        case "remove":
            return after is None
        case "blank":
            return after is not None and str(after) == ""
        case "replace" | "uid":
            return after not in (None, "") and str(after) != str(before)
        case _:
            return bool(after) and _days(before, str(after)) != 0 and after[8:] == before[8:]


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_same, before, after))
    try:
        return float(before) == float(after)
    except (TypeError, ValueError):
        return bool(before == after)


def _days(before: str, after: str) -> int:
    first, second = (date(int(t[:4]), int(t[4:6]), int(t[6:8])) for t in (before, after))
    return (second - first).days


def read_outputs(folder: Path, answers: list[Answer]) -> dict[int, Dataset]:
    """The files below a folder by number of their input, known by their pixels."""
    pixels = {answer.before: answer.file for answer in answers if answer.path == "PixelData"}
    found = (dcmread(path, force=True) for path in folder.rglob("*.dcm"))
    return {pixels[dataset.PixelData]: dataset for dataset in found if "PixelData" in dataset}


def shares(answers: list[Answer], wrong: set[Answer]) -> dict[str, float]:
    """Percent of the answers that are right: of the patient, physics, identity, dates, all."""
    patient = ("PatientAge", "PatientSex", "PatientSize", "PatientWeight")
    kinds = {
        "patient": [a for a in answers if a.path in patient],
        "physics": [a for a in answers if a.action == "keep" and a.path not in patient],
        "identity": [a for a in answers if a.action in ("remove", "blank", "replace")],
        "dates": [a for a in answers if a.action == "shift"],
        "all": answers,
    }
    bad = {kind: sum(a in wrong for a in of) for kind, of in kinds.items()}
    return {kind: 100 * (1 - bad[kind] / len(of)) for kind, of in kinds.items()}


def intact(outputs: dict[int, Dataset]) -> float:
    """Share of the references that lead to an output; those that were dropped do not."""
    return 1 - missing_references(outputs) / max(len(outputs), 1)


def marked(outputs: dict[int, Dataset]) -> float:
    """Share of the outputs that hold codes of the method."""
    held = sum(bool(d.get("DeidentificationMethodCodeSequence")) for d in outputs.values())
    return held / max(len(outputs), 1)
