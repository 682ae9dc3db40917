import json
import shutil
import subprocess

import pytest

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.release import checksums
from medsynth.release.release import release
from medsynth.release.verify import verify


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released.path, tmp_path / "release")


def test_a_release_verifies_with_and_without_a_trusted_key(released):
    found = verify(released.path, trusted=None)
    assert found.ok, found.problems
    assert not found.is_trusted
    assert found.verdict == "PASS"
    assert found.num_files == sum(path.is_file() for path in released.path.rglob("*"))
    assert found.certificate_body["policy"]["name"] == "demo"
    assert verify(released.path, trusted={DEMO_KEYS.public_key}).is_trusted


def test_another_trusted_key_is_a_problem(released, other_keys):
    found = verify(released.path, trusted={other_keys.public_key})
    assert not found.ok
    assert not found.is_trusted
    assert any("trusted key" in problem for problem in found.problems)


def test_one_flipped_bit_in_any_file_is_found(copy):
    for path in sorted(p for p in copy.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 1
            path.write_bytes(changed)
            assert not verify(copy, trusted=None).ok, (path.name, place)
        path.write_bytes(whole)
    assert verify(copy, trusted=None).ok


def test_white_space_in_unsigned_json_is_found(copy):
    for name in ("receipt.json", "SHA256SUMS.sig"):
        text = (copy / name).read_text()
        (copy / name).write_text(text.replace("\n", "\t", 1))
        assert not verify(copy, trusted=None).ok
        (copy / name).write_text(text)


def test_an_added_and_a_removed_file_are_found(copy):
    (copy / "bids" / "extra.txt").write_text("more")
    assert "bids/extra.txt is not listed" in verify(copy, trusted=None).problems
    (copy / "bids" / "extra.txt").unlink()
    for path in sorted(p for p in copy.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        path.unlink()
        assert not verify(copy, trusted=None).ok, path.name
        path.write_bytes(whole)
    assert verify(copy, trusted=None).ok


def test_a_link_in_place_of_a_file_is_found(copy, tmp_path):
    (copy / "LICENSE").rename(tmp_path / "elsewhere")
    (copy / "LICENSE").symlink_to(tmp_path / "elsewhere")
    assert "LICENSE was changed" in verify(copy, trusted=None).problems


def test_a_receipt_rewritten_to_fit_is_found(copy):
    path = copy / "receipt.json"
    receipt = json.loads(path.read_text())
    receipt["parents"]["accepted"] = "00" * 32
    request = {k: v for k, v in receipt.items() if k != "digest"}
    receipt["digest"] = checksums.canonical_json(request).hex()[:64]
    path.write_text(json.dumps(receipt, indent=1, sort_keys=True) + "\n")
    assert "receipt.json was changed or is missing" in verify(copy, trusted=None).problems


def test_sums_made_anew_by_somebody_else_do_not_get_trust(copy, other_keys):
    (copy / "bids" / "README.md").write_text("forged")
    checksums.write_sums(copy)
    receipt = json.loads((copy / "receipt.json").read_text())
    checksums.sign_sums(copy, receipt, other_keys)
    found = verify(copy, trusted={DEMO_KEYS.public_key})
    assert not found.ok
    assert not found.is_trusted


def test_a_manifest_that_asks_for_other_attributes_is_found_by_the_root(
    accept, certify, tmp_path, monkeypatch
):
    accepted = accept(tmp_path)
    certificate = certify(tmp_path, Manifest.read(accepted.path).root)
    write = Manifest.write

    def lie(manifest, folder):
        write(manifest.keep(manifest.scans[:-1]), folder)

    monkeypatch.setattr(Manifest, "write", lie)
    done = release(accepted, certificate, tmp_path, DEMO_KEYS)
    found = verify(done.path, trusted={DEMO_KEYS.public_key})
    assert found.problems == ("the certificate is for another cohort",)


def test_an_expired_certificate_is_a_problem(copy, certify, released):
    root = Manifest.read(released.path).root
    shutil.copyfile(certify(copy.parent, root, days=-1), copy / "certificate.json")
    checksums.write_sums(copy)
    problems = verify(copy, trusted=None).problems
    assert any("expired" in problem for problem in problems)


def test_sha256sum_agrees(released):
    run = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=released.path, check=False
    )
    assert run.returncode == 0


def test_the_sums_list_every_file_but_themselves_and_the_receipt(released):
    listed = {
        line.split("  ")[1] for line in (released.path / "SHA256SUMS").read_text().splitlines()
    }
    found = {
        p.relative_to(released.path).as_posix() for p in released.path.rglob("*") if p.is_file()
    }
    assert found - listed == {"SHA256SUMS", "SHA256SUMS.sig", "receipt.json"}
    assert "report.html" in listed
    assert "certificate.json" in listed


def test_an_empty_folder_is_no_release(tmp_path):
    found = verify(tmp_path, trusted=None)
    assert not found.ok
    assert found.verdict is None
    assert found.fingerprint == ""
