import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medsynth.core.certificate import Certificate, sign_certificate
from medsynth.core.errors import CertificateInvalid
from medsynth.core.keys import DEMO_KEYS, Keys

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BODY: dict[str, Any] = {
    "format": "medsynth-certificate-1",
    "verdict": "PASS",
    "scope": "data",
    "policy": {"name": "demo", "digest": "ab"},
    "digests": {"cohort": "cd"},
    "gates": [{"gate": "partition", "estimate": 0.012, "low": None}],
    "issued": NOW.isoformat(),
    "expires": (NOW + timedelta(days=365)).isoformat(),
    "does_not_show": ["attacks that were not run"],
}
OTHER = Keys(b"a" * 32, b"b" * 32, b"c" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sign_certificate(BODY, DEMO_KEYS).write(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def test_a_certificate_holds_after_a_round_trip(path: Path) -> None:
    certificate = Certificate.read(path)
    certificate.check(trusted={DEMO_KEYS.public_key}, now=NOW)
    assert certificate.verdict == "PASS"
    assert certificate.is_demo
    assert certificate == sign_certificate(BODY, DEMO_KEYS)


def test_every_changed_value_is_noticed(path: Path) -> None:
    fields = json.loads(path.read_text())
    for name in BODY:
        changed = fields | {"body": fields["body"] | {name: "PASSED"}}
        if name == "format":
            continue
        path.write_text(json.dumps(changed))
        with pytest.raises(CertificateInvalid, match="does not match"):
            Certificate.read(path).check(trusted=None, now=NOW)


def test_an_untrusted_key_and_a_late_date_are_refused(path: Path) -> None:
    certificate = Certificate.read(path)
    with pytest.raises(CertificateInvalid, match="trusted key"):
        certificate.check(trusted={OTHER.public_key}, now=NOW)
    with pytest.raises(CertificateInvalid, match="expired on 2027-11-21"):
        certificate.check(trusted=None, now=NOW + timedelta(days=366))


def test_a_signature_by_another_key_does_not_pass_as_ours(path: Path) -> None:
    forged = sign_certificate(BODY, OTHER)
    borrowed = Certificate(forged.body, DEMO_KEYS.public_key, forged.signature)
    with pytest.raises(CertificateInvalid, match="does not match"):
        borrowed.check(trusted={DEMO_KEYS.public_key}, now=NOW)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"body": {}, "public_key": "", "signature": ""}']
)
def test_what_is_no_certificate_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CertificateInvalid):
        Certificate.read(path)


def test_a_body_without_every_field_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="does_not_show"):
        sign_certificate({k: v for k, v in BODY.items() if k != "does_not_show"}, DEMO_KEYS)
