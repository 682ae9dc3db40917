import json
from dataclasses import replace
from pathlib import Path

import pytest

from medsynth.core.errors import StaleInput
from medsynth.core.stage import Request, code_digest, open_stage, produce

REQUEST = Request("prepared", {"manifest": "aa"}, {"shape": (64, 64, 1)}, code="c", seed=1)


def build(folder: Path) -> None:
    (folder / "volumes").mkdir(exist_ok=True)
    (folder / "volumes" / "a.nii").write_bytes(b"voxels")


def never(folder: Path) -> None:
    raise AssertionError("the stage was run again")


def test_a_stage_is_found_and_not_run_again(tmp_path: Path) -> None:
    first = produce(tmp_path, REQUEST, build)
    second = produce(tmp_path, REQUEST, never)
    assert (first.reused, second.reused) == (False, True)
    assert first == second
    assert open_stage(first.path) == first


@pytest.mark.parametrize(
    "change",
    [
        {"parents": {"manifest": "bb"}},
        {"config": {"shape": (32, 32, 1)}},
        {"code": "d"},
        {"seed": 2},
        {"key_fingerprint": "k"},
    ],
)
def test_any_change_runs_the_stage_and_keeps_the_old_folder(
    tmp_path: Path, change: dict[str, object]
) -> None:
    first = produce(tmp_path, REQUEST, build)
    second = produce(tmp_path, replace(REQUEST, **change), build)
    assert not second.reused
    kept = tmp_path / "superseded" / f"prepared-{first.digest[:12]}"
    assert open_stage(kept).digest == first.digest


@pytest.mark.parametrize("damage", ["change", "add", "remove", "receipt"])
def test_a_damaged_folder_is_noticed_and_built_again(tmp_path: Path, damage: str) -> None:
    folder = produce(tmp_path, REQUEST, build).path
    if damage == "change":
        (folder / "volumes" / "a.nii").write_bytes(b"voxelz")
    elif damage == "add":
        (folder / "b.nii").touch()
    elif damage == "remove":
        (folder / "volumes" / "a.nii").unlink()
    else:
        receipt = json.loads((folder / "receipt.json").read_text())
        (folder / "receipt.json").write_text(json.dumps(receipt | {"seed": 2}))
    with pytest.raises(StaleInput, match="prepared"):
        open_stage(folder)
    assert not produce(tmp_path, REQUEST, build).reused


def test_a_killed_build_leaves_no_stage_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        (folder / "state.json").write_text("half")
        raise KeyboardInterrupt

    def resumed(folder: Path) -> None:
        assert (folder / "state.json").read_text() == "half"
        (folder / "state.json").write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        produce(tmp_path, REQUEST, killed)
    assert not (tmp_path / "prepared").exists()
    assert (produce(tmp_path, REQUEST, resumed).path / "state.json").read_text() == "whole"


def test_stage_folders_are_private(tmp_path: Path) -> None:
    folder = produce(tmp_path / "work", REQUEST, build).path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700


def test_a_receipt_says_what_made_the_folder(tmp_path: Path) -> None:
    receipt = produce(tmp_path, REQUEST, build).receipt
    assert receipt["config"] == {"shape": [64, 64, 1]}
    assert list(receipt["files"]) == ["volumes/a.nii"]
    names = ["stage", "version", "seed", "parents", "code", "key_fingerprint", "digest", "format"]
    assert set(names) <= set(receipt)


def test_the_code_digest_covers_what_a_room_imports() -> None:
    assert code_digest("medsynth.core.keys") != code_digest("medsynth.core.digest")
    assert len(code_digest("medsynth.core")) == 64


def test_the_code_digest_covers_tables_and_templates(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for room in ("one_room", "other_room"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
        (tmp_path / room / "table.csv").write_text(room)
    assert code_digest("one_room") != code_digest("other_room")
