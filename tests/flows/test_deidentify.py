"""`medsynth deidentify`, whole."""

import json
from pathlib import Path

from flows.cli import answer
from medsynth.ingest.phantom_archive import write_phantom_archive


def test_the_verb_rewrites_an_archive_and_says_what_it_did(server: str, tmp_path: Path) -> None:
    source = write_phantom_archive(tmp_path / "p", num_subjects=4, size=16) / "dicom"
    config = tmp_path / "run.toml"
    config.write_text('[deidentify]\noptions = ["characteristics", "modified_dates"]\n')
    given = answer(["deidentify", str(source), str(tmp_path / "out"), "--config", str(config)])
    said = json.loads(given.to_json(1.0, "deidentify"))
    assert given.exit_code == 0
    assert said["num_written"] == len(list((tmp_path / "out/deidentified").rglob("*.dcm"))) > 0
    assert said["methods"] == ["113100", "113107", "113108"]


def test_an_option_that_does_not_exist_is_bad_usage(server: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('[deidentify]\noptions = ["everything"]\n')
    (tmp_path / "in").mkdir()
    given = answer(
        ["deidentify", str(tmp_path / "in"), str(tmp_path / "out"), "--config", str(config)]
    )
    assert given.exit_code == 2
