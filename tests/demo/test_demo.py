"""The whole way, as a newcomer goes it: `medsynth demo --small`, without a network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

FIND_LEAKS = Callable[[Path, Path], dict[str, set[str]]]
LOOPBACK_UP = (
    "import fcntl, socket, struct;"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x41))"
)
NO_WAY_OUT = (
    "import socket; s = socket.socket(); s.settimeout(5);"
    "raise SystemExit(0 if s.connect_ex(('192.0.2.1', 80)) else 1)"
)


@dataclass(frozen=True)
class Ended:
    """How one command ended."""

    code: int
    text: str
    answer: dict[str, Any]


def medsynth(*arguments: str, cut_off: bool = False) -> Ended:
    command = [sys.executable, "-m", "flows.cli", *arguments, "--json"]
    if cut_off:
        line = f'{sys.executable} -c "{LOOPBACK_UP}" && {sys.executable} -c "{NO_WAY_OUT}"'
        command = ["unshare", "-rn", "sh", "-c", f'{line} && exec "$@"', "sh", *command]
    home = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=home)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return Ended(done.returncode, done.stdout + done.stderr, json.loads(lines[-1]))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def demo(out: Path) -> Ended:
    return medsynth("demo", "--small", "--out", str(out), cut_off=True)


def test_the_demo_passes_without_a_network(demo: Ended) -> None:
    assert demo.code == 0, demo.text[-3000:]
    assert demo.answer["verdict"] == "PASS"
    assert demo.answer["num_scans"] == 500
    assert demo.answer["num_quarantined"] == 14
    assert demo.answer["peak_rss_bytes"] < 4 << 30
    assert Path(demo.answer["report"]).is_file()
    assert demo.answer["reused"] == []


def test_samples_follow_the_attributes_asked_for(demo: Ended) -> None:
    found = demo.answer["evaluation"]
    assert set(found["age_r"]) == {"value", "floor", "low", "high", "n"}
    assert found["age_r"]["low"] > 0.7
    assert found["sex_auc"]["low"] > 0.9
    assert found["lesion_auc"]["low"] > 0.55


def test_asked_and_achieved_attributes_stand_side_by_side(demo: Ended, out: Path) -> None:
    table = pd.read_parquet(out / "evaluation" / "manifest.parquet")
    known = table.dropna(subset=["attr.age"])
    assert {"attr.sex", "got.sex", "attr.lesion", "got.lesion"} <= set(table.columns)
    assert known["attr.age"].corr(known["got.age"]) > 0.7


def test_no_planted_identifier_reaches_any_file_or_line(
    demo: Ended, out: Path, find_leaks: FIND_LEAKS, tmp_path: Path
) -> None:
    archive = next(out.glob("archive-*"))
    phi = archive / "phi.json"
    assert find_leaks(archive / "dicom", phi), "the search itself finds nothing"
    leaks = find_leaks(out, phi)
    assert {name for name in leaks if not name.startswith(archive.name)} == set()
    (tmp_path / "terminal.txt").write_text(demo.text)
    assert find_leaks(tmp_path, phi) == {}


def test_mlflow_holds_no_path_of_an_input(demo: Ended, out: Path) -> None:
    import sqlite3

    with sqlite3.connect(out / "home" / "mlflow.db") as database:
        dump = "\n".join(database.iterdump())
    assert str(next(out.glob("archive-*"))) not in dump
    assert "clinical.csv" not in dump


def test_a_second_run_finds_every_stage(demo: Ended, out: Path) -> None:
    again = medsynth("demo", "--small", "--out", str(out))
    assert again.code == 0, again.text[-3000:]
    stages = ["manifest", "prepared", "latents", "checkpoint", "cohort", "views", "accepted"]
    stages += ["evidence", "shown"]
    assert again.answer["reused"][:9] == stages
    assert again.answer["verdict"] == "PASS"
    for name in (*stages, "evaluation"):
        assert not list((out / "superseded").glob(f"{name}-*")), name


def test_the_release_verifies_and_one_changed_byte_is_found(demo: Ended, out: Path) -> None:
    release = Path(demo.answer["release"])
    assert medsynth("verify", str(release)).code == 0
    victim = next(release.glob("bids/sub-*/anat/*.nii.gz"))
    data = bytearray(victim.read_bytes())
    data[-9] ^= 1
    victim.write_bytes(data)
    broken = medsynth("verify", str(release))
    data[-9] ^= 1
    victim.write_bytes(data)
    assert broken.code == 1


def test_the_registered_generator_draws_from_a_table(demo: Ended, out: Path) -> None:
    script = (
        "import mlflow, pandas as pd, sys;"
        f"mlflow.set_tracking_uri('sqlite:///{out / 'home' / 'mlflow.db'}');"
        "m = mlflow.pyfunc.load_model('models:/demo-small@audited');"
        "t = pd.DataFrame({'age': [30.0, 80.0], 'sex': ['F', 'M'], 'lesion': ['no', 'yes']});"
        "r = m.predict(t); print(len(r), 'unscreened' in str(r))"
    )
    env = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.stdout.split() == ["2", "True"], done.stderr[-2000:]
