"""The table and the module lists are those of the standard."""

import json
import re
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.tag import Tag

from medsynth.ingest.deidentification.modules import item_level, top_level
from medsynth.ingest.deidentification.options import Option, Profile
from medsynth.ingest.deidentification.table import Action, listed_action, read_rows, resolve

ROOT = Path(__file__).parents[3]
PEER = ROOT / ".peers/dicom_anonymizer/dicomanonymizer/dicom_anonymization_databases"
CT = "1.2.840.10008.5.1.4.1.1.2"
BY_HAND = {
    # keyword: (basic, options that change it), read from PS3.15 Table E.1-1
    "AccessionNumber": ("Z", {}),
    "AcquisitionDate": ("X/Z", {"full_dates": "K", "modified_dates": "C"}),
    "AdmittingDiagnosesDescription": ("X", {"descriptors": "C"}),
    "ContentDate": ("Z/D", {"full_dates": "K", "modified_dates": "C"}),
    "ContentSequence": ("D", {"structured": "C"}),
    "DeviceSerialNumber": ("X/Z/D", {"device": "K"}),
    "EthnicGroup": ("X", {"characteristics": "K"}),
    "FrameOfReferenceUID": ("U", {"uids": "K"}),
    "InstitutionName": ("X/Z/D", {"institution": "K"}),
    "OperatorsName": ("X/Z/D", {}),
    "PatientAge": ("X", {"characteristics": "K"}),
    "PatientBirthDate": ("Z", {}),
    "PatientComments": ("X", {"descriptors": "C"}),
    "PatientID": ("Z/D", {}),
    "PatientName": ("Z", {}),
    "PatientSex": ("Z", {"characteristics": "K"}),
    "PatientWeight": ("X", {"characteristics": "K"}),
    "ProtocolName": ("X/D", {"descriptors": "C"}),
    "ReferencedImageSequence": ("X/Z/U*", {"uids": "K"}),
    "RequestAttributesSequence": ("X", {"descriptors": "C"}),
    "SOPInstanceUID": ("U", {"uids": "K"}),
    "SeriesDescription": ("X", {"descriptors": "C"}),
    "StationName": ("X/Z/D", {"device": "K"}),
    "StudyDate": ("Z", {"full_dates": "K", "modified_dates": "C"}),
    "StudyID": ("Z", {}),
    "StudyTime": ("Z", {"full_dates": "K", "modified_dates": "C"}),
}


@pytest.mark.parametrize("keyword", sorted(BY_HAND))
def test_rows_read_by_hand_from_the_standard_are_in_the_table(keyword: str) -> None:
    row = read_rows()[f"{tag_for_keyword(keyword):08X}"]
    basic, columns = BY_HAND[keyword]
    assert row.basic == basic
    assert {str(option): str(action) for option, action in row.columns.items()} == columns


def test_the_basic_column_is_that_of_an_independent_copy() -> None:
    if not PEER.is_dir():
        pytest.skip("dicom-anonymizer is not in .peers")
    sys.path.insert(0, str(PEER))
    import dicomfields_2026c as theirs

    letters = {"X_Z_U_STAR": "X/Z/U*", "X_Z_D": "X/Z/D", "X_Z": "X/Z", "X_D": "X/D", "Z_D": "Z/D"}
    letters |= {letter: letter for letter in "DZXU"}
    rows = read_rows()
    for group, cell in letters.items():
        for tag in (tag for tag in getattr(theirs, f"{group}_TAGS") if len(tag) == 2):
            assert rows["{:04X}{:04X}".format(*tag)].basic == cell, tag


def test_the_module_lists_are_those_of_highdicom() -> None:
    standard = pytest.importorskip("highdicom")
    folder = Path(standard.__file__).parent / "_standard"
    iods, modules, sops = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("iod_module_map", "module_attribute_map", "sop_class_iod_map")
    )
    ours = json.loads(
        files("medsynth.ingest.deidentification").joinpath("modules.json").read_text()
    )
    for sop_class, iod in ours["sops"].items():
        assert sops[sop_class] == iod
        listed = {a["keyword"] for m in iods[iod] for a in modules[m["key"]] if not a["path"]}
        tags = {tag_for_keyword(keyword) for keyword in listed} - {None}
        assert tags <= set(top_level(sop_class)), iod


def test_every_cell_resolves_to_the_strictest_action_that_the_type_allows() -> None:
    wanted = {
        "X/Z/D": {"1": "D", "2": "Z", "3": "X"},
        "X/Z": {"1": "D", "2": "Z", "3": "X"},
        "X/D": {"1C": "D", "2": "D", "3": "X"},
        "Z/D": {"1": "D", "2C": "Z", "3": "Z"},
        "Z": {"1": "D", "2": "Z", "3": "Z"},
        "X": {"1": "X", "2": "X", "3": "X"},
        "D": {"1": "D", "2": "D", "3": "D"},
        "X/Z/U*": {"1": "U", "3": "U"},
    }
    for cell, kinds in wanted.items():
        for kind, action in kinds.items():
            assert resolve(cell, kind) is Action(action), (cell, kind)


def test_options_change_only_their_own_column() -> None:
    sex = Tag("PatientSex")
    keeps = Profile(frozenset({Option.PATIENT_CHARACTERISTICS}))
    assert listed_action(sex, keeps, "2", is_date=False) is Action.KEEP
    other = Profile(frozenset(Option) - {Option.PATIENT_CHARACTERISTICS, Option.FULL_DATES})
    assert listed_action(sex, other, "2", is_date=False) is Action.BLANK


def test_to_retain_a_device_is_not_to_retain_its_dates() -> None:
    device = Profile(frozenset({Option.DEVICE_IDENTITY}))
    tag = Tag("DateOfLastCalibration")
    assert listed_action(tag, device, "3", is_date=True) is Action.REMOVE


def test_no_iod_lists_private_overlay_or_curve_attributes() -> None:
    for sop_class in json.loads(
        files("medsynth.ingest.deidentification").joinpath("modules.json").read_text()
    )["sops"]:
        groups = {tag >> 16 for tag in top_level(sop_class)}
        assert not [g for g in groups if g % 2 or 0x5000 <= g < 0x5100 or 0x6000 <= g < 0x6100]


def test_items_of_functional_groups_may_hold_their_macros() -> None:
    allowed = item_level(tag_for_keyword("PerFrameFunctionalGroupsSequence"))
    assert {
        tag_for_keyword("PlanePositionSequence"),
        tag_for_keyword("FrameVOILUTSequence"),
    } <= set(allowed)
    assert not item_level(0x00091110)


def test_the_notice_names_every_source() -> None:
    notice = files("medsynth.ingest.deidentification").joinpath("NOTICE").read_text()
    for source in ("dicom-anonymizer 2.1.0", "Innolitics", "highdicom", "2026c", "2024e"):
        assert source in notice
    assert re.search(r"BSD-3-Clause", notice)
