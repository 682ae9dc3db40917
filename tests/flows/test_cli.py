"""The command line, without any heavy room."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from flows.cli import answer, app, main
from flows.memory import PeakMemory

HEAVY = ("torch", "prefect", "mlflow", "monai", "numpy", "pandas", "rich")


def _commands() -> dict[str, object]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom flows.cli import answer\nanswer(['--help'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "demo" in done.stdout


def test_every_verb_of_first_light_is_there_and_explained() -> None:
    verbs = (
        "demo run ingest deidentify people prepare train import-checkpoint sample audit evaluate"
        " compare compress release serve verify keys"
    )
    assert set(_commands()) == set(verbs.split())
    assert all(command.help for command in _commands().values())  # type: ignore[attr-defined]


def test_every_command_takes_json() -> None:
    for name, command in _commands().items():
        leaves = getattr(command, "commands", {name: command}).values()
        for leaf in leaves:
            assert "--json" in [option for p in leaf.params for option in p.opts]


def _run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["medsynth", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run"], ["keys", "lose"], ["sample", "a", "b", "--count", "0"], []]
)
def test_a_usage_error_ends_in_json_and_exit_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run([*arguments, "--json"], monkeypatch) == 2
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["error"]["code"] == "usage"
    assert found["out"] is None
    assert found["reused"] == []
    assert found["seconds"] >= 0


def test_what_a_run_cannot_know_is_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(tmp_path / "no.toml"), "--source", str(tmp_path), "--out", "x"]
    assert _run([*arguments, "--json"], monkeypatch) == 2
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    unknown = {key for key, value in found.items() if value is None}
    assert unknown >= {"verdict", "evaluation", "release", "report", "num_scans", "peak_rss_bytes"}


def test_without_keys_a_verb_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSYNTH_HOME", str(tmp_path / "home"))
    given = answer(["ingest", str(tmp_path), str(tmp_path / "out")])
    assert given.exit_code == 2
    assert given.fields["error"]["message"] == "no keys found: run `medsynth keys init`"


def test_keys_are_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSYNTH_HOME", str(tmp_path))
    assert answer(["keys", "init"]).exit_code == 0
    before = (tmp_path / "keys.json").read_text()
    assert answer(["keys", "init"]).exit_code == 2
    assert (tmp_path / "keys.json").read_text() == before
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


def test_peak_memory_counts_children() -> None:
    child = "x = bytearray(80_000_000); import time; time.sleep(1)"
    with PeakMemory() as alone:
        pass
    with PeakMemory() as memory:
        subprocess.run([sys.executable, "-c", child], check=True)
    assert memory.peak_bytes > alone.peak_bytes + 60_000_000


def test_an_interrupted_verb_fails_with_its_reason(monkeypatch):
    from flows import cli

    def interrupted(verbose):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_verbs", interrupted)
    given = cli.answer(["keys", "init"])
    assert (given.exit_code, given.fields["error"]["code"]) == (1, "interrupted")
