"""What becomes of one data set."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import DEMO_KEYS, Keys
from medsynth.ingest.deidentification.csa_numbers import numbers_alone
from medsynth.ingest.deidentification.dataset import deidentify_dataset
from medsynth.ingest.deidentification.dates import age_of, moved, shift_days
from medsynth.ingest.deidentification.options import DeidentifyConfig, Option, Profile
from medsynth.ingest.deidentification.uids import keyed_uid
from medsynth.ingest.deidentification.words import closed_form
from medsynth.ingest.dicom.csa import csa_numbers, csa_values
from medsynth.ingest.hush import hushed

DATES, FULL = Option.MODIFIED_DATES, Option.FULL_DATES
PATIENT, PRIVATE = Option.PATIENT_CHARACTERISTICS, Option.SAFE_PRIVATE
MR, SEG = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4"

Clean = Callable[..., Dataset]


@pytest.fixture
def clean(kit: SimpleNamespace) -> Clean:
    """`clean(options, keyword=value ...)`: a plane with these elements, rewritten and read back."""

    def run(*options: Option, **tags: object) -> Dataset:
        plane = kit.plane(kit.origin, **tags)
        stream = BytesIO()
        plane.save_as(stream, implicit_vr=False, little_endian=True)
        stream.seek(0)
        made = deidentify_dataset(
            dcmread(stream, force=True), DEMO_KEYS, Profile(frozenset(options))
        )
        out = BytesIO()
        made.save_as(out, enforce_file_format=True)
        out.seek(0)
        return dcmread(out)

    return run


def item(**tags: object) -> Dataset:
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def test_names_become_one_keyed_name(clean: Clean) -> None:
    made = clean()
    assert made.PatientName == made.PatientID == DEMO_KEYS.subject_id("P1")


def test_dates_of_a_subject_move_together_and_back(clean: Clean) -> None:
    made = clean(DATES, StudyDate="20200301", AcquisitionDateTime="20200303101112.5+0100")
    days = shift_days(DEMO_KEYS, "P1")
    assert -3653 <= days <= -365
    assert made.StudyDate == moved("DA", "20200301", days)
    assert made.AcquisitionDateTime == moved("DA", "20200303", days) + "101112.5+0100"


def test_two_subjects_move_by_different_days_and_keys_decide() -> None:
    other = Keys(b"k" * 32, b"s" * 32, b"v" * 32)
    assert len({shift_days(DEMO_KEYS, f"P{n}") for n in range(50)}) > 45
    assert shift_days(DEMO_KEYS, "P1") != shift_days(other, "P1")


@pytest.mark.parametrize(
    ("vr", "text", "days", "wanted"),
    [
        ("DA", "20200301", -1, "20200229"),
        ("DA", "1993.08.22", 0, "19930822"),
        ("DA", "20201301", 1, ""),
        ("DA", "Smith", 1, ""),
        ("DT", "2020", -366, "2018"),
        ("DT", "202003", -1, "202002"),
        ("DT", "20200301120000.25-0500", 1, "20200302120000.25-0500"),
        ("TM", "101112.123456", 5, "101112.123456"),
        ("TM", "10:11:12", 5, "101112"),
        ("TM", "10", 5, "10"),
        ("TM", "noon", 5, ""),
        ("DA", "00010101", -5, ""),
    ],
)
def test_dates_and_times_move_whole_and_partial(vr: str, text: str, days: int, wanted: str) -> None:
    assert moved(vr, text, days) == wanted


def test_without_a_date_option_no_date_or_time_is_left(clean: Clean) -> None:
    made = clean(PATIENT, StudyDate="20200301", StudyTime="101112", SeriesDate="20200301")
    assert made.StudyDate == made.StudyTime == ""
    assert "SeriesDate" not in made
    assert made.LongitudinalTemporalInformationModified == "REMOVED"


def test_full_dates_stay_and_say_so(clean: Clean) -> None:
    made = clean(FULL, StudyDate="20200301")
    assert made.StudyDate == "20200301"
    assert made.LongitudinalTemporalInformationModified == "UNMODIFIED"


@pytest.mark.parametrize(
    ("tags", "age"),
    [
        ({"PatientAge": "067Y"}, "067Y"),
        ({"PatientAge": "093Y"}, "089Y"),
        ({"PatientAge": "999W"}, "999W"),
        ({"PatientBirthDate": "19510612", "StudyDate": "20190611"}, "067Y"),
        ({"PatientBirthDate": "19110612", "StudyDate": "20190611"}, "089Y"),
    ],
)
def test_age_is_counted_before_dates_go_and_capped(
    clean: Clean, tags: dict[str, str], age: str
) -> None:
    made = clean(PATIENT, **tags)
    assert made.PatientAge == age
    assert made.get("PatientBirthDate", "") == ""


def test_without_the_option_age_and_sex_go(clean: Clean) -> None:
    made = clean(PatientAge="067Y", PatientSex="F")
    assert "PatientAge" not in made
    assert made.PatientSex == ""


def test_an_age_that_nothing_says_stays_unknown() -> None:
    with hushed():
        assert age_of(item(PatientAge="old", PatientBirthDate="", StudyDate="20200101")) == ""


def test_uids_are_renamed_the_same_way_everywhere_and_standard_ones_stay(clean: Clean) -> None:
    reference = item(ReferencedSOPClassUID=MR, ReferencedSOPInstanceUID="1.2.3.77")
    made = clean(SOPInstanceUID="1.2.3.77", ReferencedImageSequence=Sequence([reference]))
    named = keyed_uid(DEMO_KEYS, "1.2.3.77")
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID == named
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == named
    assert made.ReferencedImageSequence[0].ReferencedSOPClassUID == MR
    assert named.startswith("2.25.")
    assert len(named) <= 64


def test_uids_stay_under_their_option(clean: Clean) -> None:
    assert clean(Option.UIDS, SOPInstanceUID="1.2.3.77").SOPInstanceUID == "1.2.3.77"


def test_descriptions_keep_listed_words_alone(clean: Clean) -> None:
    made = clean(Option.CLEAN_DESCRIPTORS, StudyDescription="MRI brain T2 for Doe, room 12")
    assert made.StudyDescription == "MRI BRAIN T2"
    assert "StudyDescription" not in clean(StudyDescription="MRI brain")


def test_a_listed_word_goes_where_it_is_a_persons_name(clean: Clean) -> None:
    made = clean(Option.CLEAN_DESCRIPTORS, PatientName="Bone^Ann", StudyDescription="Bone")
    assert "StudyDescription" not in made


@pytest.mark.parametrize(
    ("keyword", "text", "wanted"),
    [
        ("Manufacturer", "SIEMENS Healthineers", "Siemens"),
        ("Manufacturer", "Dr. Quist", "other"),
        ("ManufacturerModelName", "Achieva dStream", "ACHIEVA DSTREAM"),
        ("ManufacturerModelName", "Scanner of Dr Quist 12", ""),
        ("ConvolutionKernel", "B30f", "B30f"),
        ("ConvolutionKernel", "Quist", ""),
        ("SequenceName", "*tfl3d1_ns", "*tfl3d1_ns"),
        ("SequenceName", "ep_b1000#3", "ep_b1000#3"),
        ("SequenceName", "quist", ""),
        ("RescaleType", "HU", "HU"),
        ("RescaleType", "Quist", ""),
    ],
)
def test_technical_text_survives_in_closed_forms_alone(
    keyword: str, text: str, wanted: str
) -> None:
    assert closed_form(keyword, text) == wanted


def test_local_codes_go_and_known_ones_get_the_dictionarys_words(clean: Clean) -> None:
    known = item(CodeValue="80891009", CodingSchemeDesignator="SCT", CodeMeaning="Dr Quist")
    local = item(CodeValue="QF1", CodingSchemeDesignator="99X", CodeMeaning="Dr Quist")
    made = clean(AnatomicRegionSequence=Sequence([known]), ProcedureCodeSequence=Sequence([local]))
    assert "Quist" not in made.AnatomicRegionSequence[0].CodeMeaning
    assert made.AnatomicRegionSequence[0].CodeValue == "80891009"
    assert "ProcedureCodeSequence" not in made


def test_coded_strings_with_names_or_long_numbers_go(clean: Clean) -> None:
    made = clean(BodyPartExamined="DOE", ScanOptions=["FS", "1234567"], ImageType=["ORIGINAL", ""])
    assert "BodyPartExamined" not in made
    assert made.ScanOptions == ["FS", ""]


def test_private_elements_go_and_safe_numbers_stay_under_their_option(
    kit: SimpleNamespace, clean: Clean
) -> None:
    plane = kit.plane(kit.origin)
    block = plane.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0B, "DS", "1.5")
    block.add_new(0x99, "LO", "Quist")
    plane.private_block(0x0029, "QUIST 1.0", create=True).add_new(0x10, "LO", "Quist")
    plane.file_meta, plane._read_implicit, plane._read_little = Dataset(), False, True
    kept = deidentify_dataset(plane, DEMO_KEYS, Profile(frozenset({PRIVATE})))
    found = [element for element in kept if element.tag.is_private]
    assert [str(element.value) for element in found] == ["SIEMENS MR HEADER", "1.5", "1000"]
    gone = deidentify_dataset(plane, DEMO_KEYS, Profile())
    assert not [element for element in gone if element.tag.is_private]


def test_a_csa_header_is_rebuilt_from_its_numbers_alone(shared: Path) -> None:
    path = next((shared / "data/dicom/siemens_orient_sagasc35/in").iterdir())
    with hushed():
        header = dcmread(path, stop_before_pixels=True)[0x0029, 0x1010].value
    made = numbers_alone(header)
    for name in ("NumberOfImagesInMosaic", "SliceNormalVector"):
        assert csa_numbers(made, name) == csa_numbers(header, name) != ()
    assert set(csa_values(made)) < {name for name, texts in csa_values(header).items() if texts}
    assert len(made) < len(header) / 4


def test_text_in_a_csa_header_is_no_number() -> None:
    forged = _entries({"SliceNormalVector": ("Quist",), "B_value": ("1000",)})
    assert b"Quist" not in numbers_alone(forged)
    assert csa_numbers(numbers_alone(forged), "B_value") == (1000.0,)
    assert numbers_alone(_entries({"PatientName": ("1",)})) == b""


def _entries(values: dict[str, tuple[str, ...]]) -> bytes:
    """A CSA2 header, written by hand."""
    data = b"SV10\4\3\2\1" + len(values).to_bytes(4, "little") + bytes([77, 0, 0, 0])
    for name, texts in values.items():
        head = name.encode().ljust(64, b"\0") + bytes(12)
        data += head + len(texts).to_bytes(8, "little") + bytes(0)
        for text in texts:
            size = len(text).to_bytes(4, "little")
            data += size + size + bytes(8) + text.encode() + bytes(-len(text) % 4)
    return data


def test_frames_of_an_enhanced_image_keep_their_number_and_places(clean: Clean) -> None:
    places = [item(ImagePositionPatient=[0, 0, z]) for z in range(3)]
    frames = [item(PlanePositionSequence=Sequence([place])) for place in places]
    frames[1].add_new(0x00091001, "LO", "Quist")
    made = clean(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    positions = [
        frame.PlanePositionSequence[0].ImagePositionPatient[2]
        for frame in made.PerFrameFunctionalGroupsSequence
    ]
    assert positions == [0, 1, 2]


def test_the_file_says_what_was_done_to_it(clean: Clean) -> None:
    made = clean(PATIENT, DATES)
    assert made.PatientIdentityRemoved == "YES"
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [code.CodeValue for code in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]
    assert all("medsynth" in made.DeidentificationMethod[n] for n in (0,))


def test_what_an_earlier_tool_claimed_is_not_repeated(clean: Clean) -> None:
    old = item(CodeValue="113101", CodingSchemeDesignator="DCM", CodeMeaning="Clean Pixel Data")
    made = clean(DeidentificationMethodCodeSequence=Sequence([old]))
    assert [c.CodeValue for c in made.DeidentificationMethodCodeSequence] == ["113100"]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PatientID": ""}, "no_subject"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "unsupported_sop_class"),
        ({"SOPClassUID": "1.2.3"}, "unsupported_sop_class"),
    ],
)
def test_what_cannot_be_rewritten_safely_is_refused(
    clean: Clean, tags: dict[str, str], reason: str
) -> None:
    with pytest.raises(UnreadableScan, match=reason):
        clean(**tags)


def test_graphics_in_unused_pixel_bits_are_refused(kit: SimpleNamespace) -> None:
    plane = kit.plane(kit.origin)
    plane.add_new(0x60020102, "US", 12)
    with pytest.raises(UnreadableScan, match="embedded_overlay"):
        deidentify_dataset(plane, DEMO_KEYS, Profile())


def test_actions_are_counted(kit: SimpleNamespace) -> None:
    plane, tally = kit.plane(kit.origin, StudyDate="20200301", OperatorsName="Doe"), Counter()
    plane.file_meta, plane._read_implicit, plane._read_little = Dataset(), False, True
    deidentify_dataset(plane, DEMO_KEYS, Profile(frozenset({DATES})), tally)
    assert (tally["shift"], tally["replace"], tally["uid"]) == (1, 2, 3)
    assert tally["remove"] >= 1


def test_full_and_modified_dates_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="full or modified"):
        DeidentifyConfig(options=(DATES, FULL))


def test_a_value_of_the_wrong_form_never_survives(clean: Clean) -> None:
    made = clean(PATIENT, StackID="Quist", PatientSize="1.70")
    assert "StackID" not in made
    assert made.PatientSize == "1.70"
