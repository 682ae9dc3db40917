"""Addresses, secrets and settings: parsed at the door, and what is secret never repeated."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.cli import answer
from flows.config import RunConfig, parse_config, read_config
from flows.home import archive_secrets
from flows.job import Job
from medsynth.core.errors import UsageProblem
from medsynth.ingest.pacs.address import Address, is_address, parse_address
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.connect import connected
from medsynth.ingest.pacs.credentials import Credentials


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dicomweb://pacs:8042/dicom-web/", Address("dicomweb", "pacs", 8042, "/dicom-web")),
        ("dicomwebs://pacs.example/rs", Address("dicomweb", "pacs.example", 443, "/rs", "", True)),
        ("dicomweb://[::1]/x", Address("dicomweb", "::1", 80, "/x")),
        ("dimse://ORTHANC@pacs:4242", Address("dimse", "pacs", 4242, "", "ORTHANC")),
        ("dimses://MY%20PACS@pacs", Address("dimse", "pacs", 2762, "", "MY PACS", True)),
    ],
)
def test_an_address_is_read(text: str, wanted: Address) -> None:
    assert parse_address(text) == wanted
    assert is_address(text)


def test_a_folder_is_no_address(tmp_path: Path) -> None:
    assert not any(is_address(text) for text in ("scans", str(tmp_path), "C:/scans", "a:b"))


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"dicomweb://user:{SECRET}@pacs/rs",
        f"dicomweb://{SECRET}@pacs/rs",
        f"dimse://AET:{SECRET}@pacs:104",
        f"dicomweb://pacs/rs?token={SECRET}",
        f"dicomweb://pacs/rs#{SECRET}",
        f"https://user:{SECRET}@pacs/rs",
        f"dicomweb://pacs:{SECRET}/rs",
        f"dimse://pacs:104/{SECRET}",
        f"dimse://AET-{SECRET}-THAT-IS-TOO-LONG@pacs:104",
        f"dicomweb:///{SECRET}",
    ],
)
def test_an_address_with_a_secret_or_a_fault_is_refused_and_never_repeated(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = answer(["ingest", text, str(tmp_path / "out")])
    assert given.exit_code == 2
    for make in (lambda: Job(out=tmp_path, source=text), lambda: Job(out=tmp_path, archive=text)):
        with pytest.raises(UsageProblem) as refused:
            make()
        assert SECRET not in str(refused.value)
    assert SECRET not in str(given.fields)
    assert SECRET not in "".join(capfd.readouterr())


def test_a_job_knows_an_address_from_a_folder(tmp_path: Path) -> None:
    job = Job(out=tmp_path, source="dicomweb://pacs/rs")  # type: ignore[arg-type]
    assert (job.source, job.archive) == (None, "dicomweb://pacs/rs")
    assert Job.model_validate(job.model_dump(mode="json")) == job
    assert Job(out=tmp_path, source=tmp_path).archive is None


@pytest.mark.parametrize("name", ["token", "password", "user", "certificate", "ca"])
def test_a_config_with_a_secret_is_refused_and_never_repeated(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'[pacs]\n{name} = "{SECRET}"\n')
    with pytest.raises(UsageProblem, match=f"unknown key 'pacs.{name}'") as refused:
        read_config(path)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"last_days": 3, "date_from": "2024-01-01"}, "in place of"),
        ({"date_from": "2024-01-02", "date_to": "2024-01-01"}, "must not lie after"),
        ({"night_from": "22:00"}, "given together"),
        ({"description": "("}, "regular expression"),
        ({"modalities": ["magnetic"]}, "DICOM's words"),
        ({"tries": 0}, "greater than or equal"),
    ],
)
def test_settings_that_cannot_hold_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        parse_config(RunConfig, {"pacs": fields})
    with pytest.raises(ValidationError):
        PacsConfig(**fields)


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert archive_secrets() == {}
    monkeypatch.setenv("MEDSYNTH_PACS_TOKEN", SECRET)
    monkeypatch.setenv("MEDSYNTH_PACS_AET", "ME")
    credentials = Credentials.read(archive_secrets())
    assert (credentials.token, credentials.aet) == (SECRET, "ME")
    assert SECRET not in repr(credentials)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokn": SECRET}, "got .'tokn'."),
        ({"ca": f"/{SECRET}"}, "existing file"),
        ({"token": SECRET, "user": SECRET}, "not both"),
    ],
)
def test_secrets_that_cannot_hold_are_refused_and_never_repeated(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageProblem, match=message) as refused:
        Credentials.read(given)
    assert SECRET not in str(refused.value)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynetdicom", None)
    asked = parse_address("dimse://A@127.0.0.1:1")
    with (
        pytest.raises(UsageProblem, match=r"needs pynetdicom: pip install 'medsynth\[pacs\]'"),
        connected(asked, Credentials(), PacsConfig(dimse_retrieve="move")),
    ):
        pass
