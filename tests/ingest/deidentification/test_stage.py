"""The stage: files in, files out, and what it says of both."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
from deidentification.keyed import missing_references, read_outputs, score, write_keyed
from deidentification.leaky import PHYSICS, pixels_of, write_leaky
from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless

from medsynth.core.errors import UsageProblem
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.core.stage import Artifact, open_stage
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.deidentification.codestream import blank_comments
from medsynth.ingest.deidentification.modules import top_level
from medsynth.ingest.deidentification.options import DeidentifyConfig, Option
from medsynth.ingest.deidentification.stage import SUMMARY, deidentify
from medsynth.ingest.quarantine import read_quarantine
from medsynth.ingest.reasons import REASONS

PATIENT, DATES = Option.PATIENT_CHARACTERISTICS, Option.MODIFIED_DATES
WIDE = DeidentifyConfig(options=(PATIENT, DATES), localizers=True, secondary_capture=True)

Run = Callable[..., Artifact]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(source, config)`: the stage in a folder of this test."""

    def write(source: Path, config: DeidentifyConfig = WIDE) -> Artifact:
        return deidentify(source, tmp_path / "out", DEMO_KEYS, config)

    return write


def outputs(made: Artifact) -> list[Path]:
    return sorted((made.path / "dicom").rglob("*.dcm"))


def summary(made: Artifact) -> dict[str, object]:
    return dict(json.loads((made.path / SUMMARY).read_text()))


def test_at_least_999_of_1000_actions_on_a_keyed_archive_are_right(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = write_keyed(tmp_path / "in", num_subjects=8)
    found = read_outputs(run(tmp_path / "in").path, answers)
    wrong = score(answers, found)
    with capsys.disabled():
        print(f" {100 - 100 * len(wrong) / len(answers):.3f} % of {len(answers)} actions right")
    assert len(found) == len({answer.file for answer in answers})
    assert len(wrong) <= 0.001 * len(answers), {(w.path, w.action) for w in wrong}
    assert missing_references(found) == 0


def test_a_key_that_is_wrong_is_seen_by_the_score(run: Run, tmp_path: Path) -> None:
    answers = write_keyed(tmp_path / "in", num_subjects=1)
    strict = DeidentifyConfig(options=())
    wrong = {
        answer.path
        for answer in score(answers, read_outputs(run(tmp_path / "in", strict).path, answers))
    }
    assert {"PatientAge", "PatientSex", "StudyDate", "AcquisitionDate"} <= wrong


def test_pixels_are_the_same_and_physics_survive(run: Run, tmp_path: Path) -> None:
    write_leaky(tmp_path / "in")
    for path in outputs(run(tmp_path / "in")):
        made = dcmread(path)
        assert {name: str(made[name].value) for name in PHYSICS} == PHYSICS
        (frame,) = generate_frames(made.PixelData, number_of_frames=1)
        pixels = imagecodecs.jpegls_decode(frame)
        assert np.array_equal(pixels, pixels_of(int(made.InstanceNumber)))


def test_comments_of_compressed_frames_are_blanked_in_place(
    kit: SimpleNamespace, tmp_path: Path
) -> None:
    pixels = pixels_of(0)
    stream = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0)
    end = stream.index(b"\xff\x90")
    text = b"\x00\x01" + b"by Stromberg"
    frame = stream[:end] + b"\xff\x64" + (len(text) + 2).to_bytes(2, "big") + text + stream[end:]
    frame += b"\0" * (len(frame) % 2)
    data = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + len(frame).to_bytes(4, "little") + frame
    blanked = blank_comments(data)
    assert len(blanked) == len(data)
    assert b"Stromberg" not in blanked
    assert np.array_equal(imagecodecs.jpeg2k_decode(blanked[16:]), pixels)
    assert JPEG2000Lossless.is_encapsulated


def test_names_of_files_are_keyed_and_stable(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    kit.save_all(kit.series(3), tmp_path / "in" / "Doe_Jane")
    names = [path.relative_to(tmp_path).as_posix() for path in outputs(run(tmp_path / "in"))]
    assert len({Path(name).parent for name in names}) == 1
    assert all(
        name.startswith(f"out/deidentified/dicom/{DEMO_KEYS.subject_id('P1')}/study-")
        for name in names
    )
    assert "Doe" not in "".join(names)


def test_the_header_of_the_file_is_new(run: Run, tmp_path: Path) -> None:
    write_leaky(tmp_path / "in", count=1)
    (path,) = outputs(run(tmp_path / "in"))
    made = dcmread(path)
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    assert {e.keyword for e in made.file_meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }


def test_the_same_volumes_come_out_of_the_rewritten_archive(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    kit.save_all(kit.series(6, slope=0.25, intercept=-100), tmp_path / "in/a")
    tilted = kit.series(5, step=(0, 0.4, 2), SeriesInstanceUID="1.2.3.5", RescaleType="HU")
    kit.save_all(tilted, tmp_path / "in/b", seed=1)
    made = run(tmp_path / "in", DeidentifyConfig(options=(PATIENT,)))
    config = IngestConfig(min_matrix=1)
    before = Manifest.read(ingest(tmp_path / "in", tmp_path / "1", DEMO_KEYS, config).path)
    after = Manifest.read(ingest(made.path / "dicom", tmp_path / "2", DEMO_KEYS, config).path)
    assert len(before) == 2
    assert {scan.digest for scan in before} == {scan.digest for scan in after}


def test_what_had_a_value_that_its_iod_requires_has_one_still(run: Run, tmp_path: Path) -> None:
    answers = write_keyed(tmp_path / "in", num_subjects=2)
    found = read_outputs(run(tmp_path / "in").path, answers)
    for answer in (a for a in answers if "." not in a.path and "," not in a.path):
        made = found[answer.file]
        kinds = {keyword_for_tag(tag): kind for tag, kind in top_level(made.SOPClassUID).items()}
        if kinds.get(answer.path) in ("1", "2"):
            assert answer.path in made, answer.path
        if kinds.get(answer.path) == "1":
            assert not made[answer.path].is_empty, answer.path


def test_pydicoms_validation_and_highdicom_take_the_files(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    highdicom = pytest.importorskip("highdicom")
    kit.save_all(
        kit.series(6, FrameOfReferenceUID="1.2.3.9", StudyDate="20200301"), tmp_path / "in"
    )
    made = run(tmp_path / "in")
    before, pydicom_config.settings.reading_validation_mode = (
        pydicom_config.settings.reading_validation_mode,
        pydicom_config.RAISE,
    )
    try:
        datasets = [dcmread(path) for path in outputs(made)]
        assert all(str(element.value) is not None for d in datasets for element in d.iterall())
    finally:
        pydicom_config.settings.reading_validation_mode = before
    volume = highdicom.get_volume_from_series(datasets)
    assert sorted(volume.spatial_shape) == [6, 10, 12]


@pytest.mark.parametrize("name", ["broken", "phi", "bids"])
def test_every_real_file_is_written_or_refused_with_a_known_reason(
    run: Run, shared: Path, name: str
) -> None:
    made = run(shared / "data" / name)
    said, refused = summary(made), read_quarantine(made.path)
    num_left_out = sum(said["left_out"].values())
    assert said["num_files"] == len(outputs(made)) + sum(refused.values()) + num_left_out
    assert set(refused) <= set(REASONS)


def test_a_malformed_element_is_a_reason_and_not_a_text(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    path = kit.save(kit.plane(kit.origin, EchoTime="12.345678"), tmp_path / "in/a.dcm")
    path.write_bytes(path.read_bytes().replace(b"-1024.0", b"Quist!!"))
    made = run(tmp_path / "in")
    assert read_quarantine(made.path) == {"bad_element": 1}
    assert all(b"Quist" not in p.read_bytes() for p in made.path.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned_in_text"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary_capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "secondary_capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US"}, "burned_in_text"),
    ],
)
def test_files_whose_tags_speak_of_text_are_refused(
    run: Run, kit: SimpleNamespace, tmp_path: Path, tags: dict[str, object], reason: str
) -> None:
    kit.save(kit.plane(kit.origin, **tags), tmp_path / "in/a.dcm")
    assert read_quarantine(run(tmp_path / "in", DeidentifyConfig()).path) == {reason: 1}


def test_localizers_are_left_out_unless_wanted(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    plane = kit.plane(kit.origin, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    kit.save(plane, tmp_path / "in/a.dcm")
    assert summary(run(tmp_path / "in", DeidentifyConfig()))["left_out"] == {"localizer": 1}
    assert len(outputs(run(tmp_path / "in", WIDE))) == 1


def test_an_instance_that_comes_twice_is_written_once(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    first = kit.save(kit.plane(kit.origin), tmp_path / "in/a.dcm")
    shutil.copy(first, tmp_path / "in/b.dcm")
    other = dcmread(first)
    other.InstanceNumber = 77
    other.save_as(tmp_path / "in/c.dcm")
    made = run(tmp_path / "in")
    assert len(outputs(made)) == 1
    assert read_quarantine(made.path) == {"duplicate": 1, "duplicate_conflict": 1}


def test_the_stage_is_found_and_not_run_again(
    run: Run, kit: SimpleNamespace, tmp_path: Path
) -> None:
    kit.save_all(kit.series(2), tmp_path / "in")
    first = run(tmp_path / "in")
    assert not first.reused
    assert run(tmp_path / "in").reused
    assert not run(tmp_path / "in", DeidentifyConfig(options=())).reused
    assert open_stage(first.path).stage == "deidentified"


def test_a_source_that_is_no_folder_is_bad_usage(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="folder"):
        run(tmp_path / "nothing")
