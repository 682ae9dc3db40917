import os
from pathlib import Path

import pytest

from medsynth.core.certificate import check_signature
from medsynth.core.errors import CertificateInvalid, KeysMissing, UsageProblem
from medsynth.core.keys import DEMO_KEYS, create_keys, read_keys


def test_keys_are_read_as_they_were_created(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "home" / "keys.json")
    again = read_keys(tmp_path / "home" / "keys.json")
    assert again == keys
    assert not again.is_demo
    assert (tmp_path / "home" / "keys.json").stat().st_mode & 0o777 == 0o600


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys.json")
    with pytest.raises(UsageProblem, match="never overwritten"):
        create_keys(tmp_path / "keys.json")
    assert read_keys(tmp_path / "keys.json") == keys


def test_missing_and_open_key_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysMissing, match="medsynth keys init"):
        read_keys(tmp_path / "keys.json")
    create_keys(tmp_path / "keys.json")
    os.chmod(tmp_path / "keys.json", 0o644)
    with pytest.raises(UsageProblem, match="owner alone"):
        read_keys(tmp_path / "keys.json")


def test_ids_are_stable_under_one_key_and_unlinkable_across_keys(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys.json")
    assert keys.subject_id("MRN-1") == keys.subject_id("MRN-1")
    assert keys.subject_id("MRN-1") != DEMO_KEYS.subject_id("MRN-1")
    assert keys.scan_id("a", "bc") != keys.scan_id("ab", "c")


def test_secrets_stay_out_of_the_representation(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys.json")
    shown = f"{keys!r} {keys} {keys.fingerprint} {keys.public_key}"
    assert not any(secret.hex() in shown for secret in (keys.secret, keys.signing, keys.vault))


def test_a_signature_holds_for_its_message_alone() -> None:
    signature = DEMO_KEYS.sign(b"message")
    check_signature(b"message", DEMO_KEYS.public_key, signature)
    with pytest.raises(CertificateInvalid, match="does not match"):
        check_signature(b"massage", DEMO_KEYS.public_key, signature)
