"""`medsynth people`, whole: what the reviewer gets, and that prepare obeys the review."""

import csv
import json
import stat
from pathlib import Path

import pytest

from flows.cli import answer
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, load_scan, store_scan
from medsynth.core.stage import Artifact, Request, produce
from medsynth.ingest.archive import ingest
from medsynth.ingest.phantom_archive import write_phantom_archive

NUM_SUBJECTS = 26


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Phantoms as ingest leaves them; the first subject is there under a second id."""
    folder = tmp_path_factory.mktemp("people")
    archive = write_phantom_archive(folder / "a", num_subjects=NUM_SUBJECTS, size=32)
    ingested = ingest(archive / "dicom", folder / "ingested", DEMO_KEYS)
    before = Manifest.read(ingested.path)

    def build(into: Path) -> None:
        scans = [*before, before.scans[0]]
        named = [(s.scan_id, s.subject_id) for s in before] + [("scan-again", "sub-again")]
        stored = [
            store_scan(
                into,
                load_scan(ingested.path, scan),
                scan_id=scan_id,
                subject_id=subject_id,
                modality=scan.modality,
                attributes=scan.attributes,
            )
            for scan, (scan_id, subject_id) in zip(scans, named, strict=True)
        ]
        before.keep(stored).write(into)

    return produce(folder / "work", Request("manifest", {"m": ingested.digest}, {}, "x"), build)


@pytest.fixture(scope="module")
def found(server: str, manifest: Artifact) -> dict:
    given = answer(["people", str(manifest.path), str(manifest.path.parent)])
    assert given.exit_code == 0
    return json.loads(given.to_json(1.0, "people"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_person_with_two_ids_leads_the_list(found: dict, manifest: Artifact) -> None:
    first = rows(Path(found["pairs"]))[0]
    twin = Manifest.read(manifest.path).scans
    original = next(s.subject_id for s in twin if s.scan_id != "scan-again" and s.digest == next(
        t.digest for t in twin if t.scan_id == "scan-again"))  # fmt: skip
    assert {first["one"], first["other"]} == {original, "sub-again"}
    assert first["verdict"] == ""
    assert found["num_subjects"] == NUM_SUBJECTS + 1
    assert found["num_pairs"] == len(rows(Path(found["pairs"])))


def test_the_page_shows_pictures_and_no_identifier(found: dict, manifest: Artifact) -> None:
    page = Path(found["page"]).read_text()
    assert page.count("data:image/png") >= 2 * found["num_pairs"] > 0
    known = Manifest.read(manifest.path)
    assert not [s for s in known if s.scan_id in page or s.subject_id in page]
    assert not any(fold in page for fold in ("calibration", "control"))
    folder = Path(found["out"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "pairs.csv").stat().st_mode) == 0o400


def test_the_stage_is_found_again(found: dict, manifest: Artifact) -> None:
    again = answer(["people", str(manifest.path), str(manifest.path.parent)])
    assert again.reused == ("people",)


def test_prepare_obeys_the_review_and_says_so(
    found: dict, manifest: Artifact, tmp_path: Path
) -> None:
    config = tmp_path / "twice.toml"
    config.write_text('name = "twice"\n')
    arguments = ["prepare", str(manifest.path), str(tmp_path / "out"), "--config", str(config)]
    plain = answer(arguments)
    assert plain.fields["people"] == {"is_reviewed": False, "num_merged": 0}
    assert "nobody looked" in plain.lines[0]

    config.write_text('name = "reviewed"\n')
    lines = Path(found["pairs"]).read_text().splitlines()
    review = tmp_path / "reviewed.csv"
    review.write_text("\n".join([lines[0], lines[1] + "same"]))
    given = answer([*arguments, "--people", str(review)])
    assert given.fields["people"] == {"is_reviewed": True, "num_merged": 1}
    assert given.out is not None
    prepared = Manifest.read(given.out)
    assert (len(prepared), len(prepared.subjects)) == (NUM_SUBJECTS + 1, NUM_SUBJECTS)
    assert answer(arguments).fields["people"] == given.fields["people"]


def test_scans_with_folds_are_refused(found: dict, manifest: Artifact, tmp_path: Path) -> None:
    prepared = answer(["prepare", str(manifest.path), str(tmp_path)])
    given = answer(["people", str(prepared.out), str(tmp_path)])
    assert given.exit_code == 2
    assert "without a look at the folds" in given.fields["error"]["message"]


def test_a_review_that_is_no_sheet_is_bad_usage(manifest: Artifact, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("pair,one,other,verdict\n1,sub-a,sub-b,perhaps\n")
    given = answer(["prepare", str(manifest.path), str(tmp_path), "--people", str(wrong)])
    assert given.exit_code == 2
    assert "line 2 of the review" in given.fields["error"]["message"]
