"""No planted identifier survives, neither in what `ingest` writes nor in what `deidentify` does."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from deidentification.leaky import (
    NUM_REFERENCE,
    Needles,
    leaks_below,
    name_parts,
    needles_of_archive,
    needles_of_files,
    readable,
    write_leaky,
)
from nibabel.nifti1 import Nifti1Extension
from pydicom import dcmread
from pydicom.dataset import Dataset

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.deidentification.options import DeidentifyConfig, Option
from medsynth.ingest.deidentification.stage import deidentify
from medsynth.ingest.hush import hushed

SETTINGS = {
    "basic": (),
    "usual": (Option.PATIENT_CHARACTERISTICS,),
    "soft": tuple(
        set(Option)
        - {Option.FULL_DATES, Option.UIDS, Option.DEVICE_IDENTITY, Option.INSTITUTION_IDENTITY}
    ),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Needles]:
    folder = tmp_path_factory.mktemp("leaky") / "in"
    return folder, write_leaky(folder)


def test_every_planted_identifier_is_found_where_nothing_was_removed(
    planted: tuple[Path, Needles],
) -> None:
    folder, needles = planted
    assert leaks_below(folder, needles) == set(needles)
    assert len(needles) >= NUM_REFERENCE + 30


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_none_of_the_identifiers_survive_de_identification(
    planted: tuple[Path, Needles], tmp_path: Path, setting: str
) -> None:
    folder, needles = planted
    made = deidentify(folder, tmp_path, DEMO_KEYS, DeidentifyConfig(options=SETTINGS[setting]))
    assert len(list(made.path.rglob("*.dcm"))) == 3
    assert leaks_below(tmp_path, needles) == set()


def test_retained_uids_and_institutions_are_the_only_ones_that_stay(
    planted: tuple[Path, Needles], tmp_path: Path
) -> None:
    options = (Option.UIDS, Option.INSTITUTION_IDENTITY)
    deidentify(planted[0], tmp_path, DEMO_KEYS, DeidentifyConfig(options=options))
    uids = {"study uid", "series uid", "frame uid", "reference three deep"}
    assert leaks_below(tmp_path, planted[1]) - uids == {"institution"}


def test_none_of_the_identifiers_survive_ingest(
    planted: tuple[Path, Needles], tmp_path: Path
) -> None:
    made = ingest(planted[0], tmp_path, DEMO_KEYS, IngestConfig(min_matrix=1))
    assert len(Manifest.read(made.path)) == 1
    assert leaks_below(tmp_path, planted[1]) == set()


@pytest.mark.parametrize("cohort", ["soop_brain_128", "nih_cxr_128"])
def test_nothing_that_make_archive_planted_survives_either_way(
    archive: Callable[[str], Path],
    find_leaks: Callable[[Path, Path], dict[str, set[str]]],
    tmp_path: Path,
    cohort: str,
) -> None:
    source = archive(cohort)
    config = DeidentifyConfig(options=SETTINGS["soft"])
    made = deidentify(source / "dicom", tmp_path, DEMO_KEYS, config)
    ingest(source / "dicom", tmp_path, DEMO_KEYS, table=source / "clinical.csv")
    assert list(made.path.rglob("*.dcm"))
    assert find_leaks(source, source / "phi.json")
    assert find_leaks(tmp_path, source / "phi.json") == {}
    assert leaks_below(tmp_path, needles_of_archive(source / "phi.json")) == set()


def test_age_sex_and_physics_of_a_real_archive_survive(
    archive: Callable[[str], Path], tmp_path: Path
) -> None:
    source = archive("soop_brain_128") / "dicom"
    made = deidentify(source, tmp_path, DEMO_KEYS)
    names = "PatientAge PatientSex EchoTime RepetitionTime InversionTime MagneticFieldStrength "
    names += "SliceThickness PixelSpacing ImagePositionPatient ScanningSequence PixelData"
    before, after = ({values(d, names.split()) for d in below(f)} for f in (source, made.path))
    assert before == after


@pytest.mark.parametrize("setting", ["basic", "soft"])
def test_nothing_of_the_real_pseudo_phi_survives(
    shared: Path, tmp_path: Path, setting: str
) -> None:
    source, config = (
        shared / "data/phi",
        DeidentifyConfig(options=SETTINGS[setting], localizers=True, secondary_capture=True),
    )
    needles = needles_of_files(source)
    assert len(needles) > 40
    assert leaks_below(source, needles)
    made = deidentify(source, tmp_path, DEMO_KEYS, config)
    ingest(source, tmp_path, DEMO_KEYS)
    assert len(list(made.path.rglob("*.dcm"))) >= 6
    assert leaks_below(tmp_path, needles) == set()


def test_names_in_any_character_set_do_not_survive(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    needles: dict[str, tuple[str, ...]] = {}
    for number, path in enumerate(sorted((shared / "data/broken/charsets").glob("*.dcm"))):
        with hushed():
            dataset = dcmread(path, force=True)
            needles |= {f"{path.stem}": tuple(name_parts(dataset))}
            as_image(dataset, number)
            dataset.save_as(folder / path.name, enforce_file_format=True)
    assert len([texts for texts in needles.values() if texts]) >= 5
    made = deidentify(
        folder, tmp_path / "out", DEMO_KEYS, DeidentifyConfig(options=SETTINGS["soft"])
    )
    assert len(list(made.path.rglob("*.dcm"))) == len(needles)
    assert leaks_below(tmp_path / "out", needles) == set()


def test_text_of_nifti_headers_names_and_columns_stays_behind(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "Quillfeather_Gertrud"
    folder.mkdir(parents=True)
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    needles = {"folder": ("Quillfeather_Gertrud",)}
    for field, text in (("descrip", b"scan of Okonkwo"), ("aux_file", b"Wetherby.txt")):
        image.header[field] = text
        needles[field] = (text.decode(),)
    image.header["intent_name"], image.header["db_name"] = b"Castellane", b"Pemberton"
    image.header.extensions.append(Nifti1Extension("comment", b"told by Ludgrove"))
    for name in ("Bellweather.nii.gz", "Bellweather2.nii"):
        nib.save(image, folder / name)
    table = tmp_path / "in" / "metadata.csv"
    table.write_text(
        "image,patient_id,age,address,born\n"
        "Quillfeather_Gertrud/Bellweather.nii.gz,MRN-48151623,44,Thistledown,1957-03-14\n"
    )
    needles |= {"intent": ("Castellane",), "db": ("Pemberton",), "extension": ("Ludgrove",)}
    needles |= {"file": ("Bellweather",), "id": ("MRN-48151623",), "address": ("Thistledown",)}
    needles |= {"born": ("1957-03-14",), "path": (str(tmp_path / "in"),)}
    config = IngestConfig(min_matrix=1, attributes={"age": AttributeSource()})
    made = ingest(tmp_path / "in", tmp_path / "out", DEMO_KEYS, config, table=table)
    assert [scan.attributes["age"] for scan in Manifest.read(made.path)] == [44.0]
    assert leaks_below(tmp_path / "in", needles) >= {"folder", "descrip", "extension", "born"}
    assert leaks_below(tmp_path / "out", needles) == set()


def test_what_ingest_writes_holds_no_uid_and_no_path(
    planted: tuple[Path, Needles], tmp_path: Path
) -> None:
    made = ingest(planted[0], tmp_path, DEMO_KEYS, IngestConfig(min_matrix=1))
    for path in (path for path in made.path.rglob("*") if path.is_file()):
        for data in readable(path):
            assert not re.search(rb"(?<![\d.])[12](?:\.(?:0|[1-9]\d*)){5,}(?![\d.])", data)
            assert str(planted[0]).encode() not in data


def below(folder: Path) -> Iterator[Dataset]:
    return (dcmread(path) for path in sorted(folder.rglob("*.dcm")))


def values(dataset: Dataset, names: list[str]) -> tuple[str, ...]:
    return tuple(str(dataset.get(name, "")) for name in names)


def as_image(dataset: Dataset, number: int) -> None:
    """Make a file that only has names a small CT, so that it is written and not refused."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.9", "1.2.9.0"
    dataset.Modality, dataset.PatientID = "CT", "P1"
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.add_new("PixelData", "OW", bytes(8))
    dataset.StudyDescription = dataset.get("PatientComments", "none")
    for name in ("ConversionType", "BurnedInAnnotation"):
        dataset.pop(name, None)
