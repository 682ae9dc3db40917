import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from medsynth.core.errors import ReleaseRefused, StaleInput
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, load_scan
from medsynth.core.stage import Artifact, Request, open_stage, produce
from medsynth.evaluate.metrics import Metric, write_metrics
from medsynth.release.config import ReleaseConfig
from medsynth.release.release import release


def _refuse(accepted, certificate, out, match, **options):
    with pytest.raises(ReleaseRefused, match=match) as refusal:
        release(accepted, certificate, out, options.pop("keys", DEMO_KEYS), **options)
    assert refusal.value.exit_code == 3
    assert not list(out.rglob("*"))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"verdict": "FAIL"}, "must be PASS, it is FAIL"),
        ({"verdict": "INCONCLUSIVE"}, "must be PASS, it is INCONCLUSIVE"),
        ({"days": -1}, "expired"),
        ({"policy": "pilot"}, "demo keys"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused(
    accepted, root, certify, tmp_path, options, match
):
    certificate = certify(accepted.path.parent, root, **options)
    _refuse(accepted, certificate, tmp_path, match)


def test_a_missing_or_unreadable_certificate_is_refused(accepted, tmp_path):
    _refuse(accepted, accepted.path / "none.json", tmp_path, "no readable certificate")
    _refuse(accepted, accepted.path / "receipt.json", tmp_path, "no readable certificate")


def test_a_certificate_for_another_cohort_is_refused(accepted, certify, tmp_path):
    certificate = certify(accepted.path.parent, "00" * 32, days=29)
    _refuse(accepted, certificate, tmp_path, "another cohort")


def test_a_certificate_changed_after_signing_is_refused(accepted, root, certify, tmp_path):
    certificate = certify(accepted.path.parent, root, verdict="FAIL", days=28)
    certificate.write_text(certificate.read_text().replace("FAIL", "PASS"))
    _refuse(accepted, certificate, tmp_path, "signature does not match")


def test_a_certificate_of_somebody_else_needs_trust(accepted, root, certify, other_keys, tmp_path):
    certificate = certify(accepted.path.parent, root, policy="pilot", keys=other_keys)
    _refuse(accepted, certificate, tmp_path, "trusted key")
    trusted = {other_keys.public_key}
    assert release(accepted, certificate, tmp_path, DEMO_KEYS, trusted=trusted).path.is_dir()


def test_a_tampered_voxel_is_refused(accept, certify, tmp_path):
    accepted = accept(tmp_path / "work")
    certificate = certify(tmp_path, Manifest.read(accepted.path).root)
    path = accepted.path / Manifest.read(accepted.path).scans[3].path
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    _refuse(accepted, certificate, tmp_path / "out", "voxels of syn-0003")


def test_the_same_cohort_gives_the_same_bytes(accepted, certificate, tmp_path):
    first, second = (release(accepted, certificate, tmp_path / n, DEMO_KEYS).path for n in "ab")
    names = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert len(names) > 20
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_the_release_is_found_the_second_time_and_its_receipt_holds(
    accepted, certificate, tmp_path
):
    first = release(accepted, certificate, tmp_path, DEMO_KEYS)
    assert release(accepted, certificate, tmp_path, DEMO_KEYS).reused
    assert open_stage(first.path) == first


def test_what_a_killed_run_left_does_not_leave(accepted, certificate, tmp_path):
    done = release(accepted, certificate, tmp_path, DEMO_KEYS)
    key = next((tmp_path / ".partial").parent.glob("release/receipt.json"))
    receipt = json.loads(key.read_text())
    fields = ("stage", "parents", "config", "code", "seed", "key_fingerprint")
    request = Request(**{name: receipt[name] for name in fields})
    left = tmp_path / "again" / ".partial" / f"release-{request.key[:12]}"
    (left / "bids").mkdir(parents=True)
    (left / "secret.txt").write_text("left behind")
    again = release(accepted, certificate, tmp_path / "again", DEMO_KEYS)
    assert again.digest == done.digest
    assert not (again.path / "secret.txt").exists()


def _evaluated(accepted: Artifact, out: Path, *, shift: float = 0.0) -> Artifact:
    manifest = Manifest.read(accepted.path)
    scans = []
    for scan in manifest:
        age = scan.attributes["age"]
        asked = dict(scan.attributes) | {"age": None if age is None else age + shift}
        scans.append(replace(scan, attributes=asked, measured={"age": 70.25, "sex": "F"}))

    def build(folder: Path) -> None:
        manifest.keep(scans).write(folder)
        write_metrics(folder, {"age_r": Metric(0.91, 0.95, 0.88, 0.94, 6)})

    return produce(out, Request("evaluation", {}, {"shift": shift}, "test"), build)


def test_card_and_table_show_what_was_asked_and_what_was_read(accepted, certificate, tmp_path):
    config = ReleaseConfig(name="Heads of nobody", license="CC0-1.0", known_limits=("Blurred.",))
    evaluation = _evaluated(accepted, tmp_path)
    done = release(accepted, certificate, tmp_path, DEMO_KEYS, config, evaluation=evaluation)
    card = (done.path / "dataset_card.md").read_text()
    wanted = (
        "Heads of nobody",
        "CC0-1.0",
        "Blurred.",
        "| age_r | 0.91 | 0.88 to 0.94 | 0.95 | 6 |",
    )
    for words in (*wanted, "7 x 9 x 5 voxels of 1.5 x 2 x 4 mm", "Not run: membership"):
        assert words in card
    table = (done.path / "bids" / "participants.tsv").read_text().splitlines()
    assert table[0].split("\t") == [
        "participant_id", "age", "sex", "synthetic",
        "attr_age_requested", "attr_age_measured", "attr_sex_requested", "attr_sex_measured",
        "attr_finding_requested", "attr_finding_measured",
    ]  # fmt: skip
    assert table[2].split("\t")[:6] == ["sub-syn0002", "89", "M", "true", "89.5", "70.25"]
    assert table[3].split("\t")[1] == "n/a"


def test_an_evaluation_of_other_scans_is_not_used(accepted, certificate, tmp_path):
    evaluation = _evaluated(accepted, tmp_path, shift=1.0)
    with pytest.raises(StaleInput, match="evaluation must be of the accepted cohort"):
        release(accepted, certificate, tmp_path, DEMO_KEYS, evaluation=evaluation)


def test_no_flag_fold_or_absolute_path_leaves(released, accepted):
    manifest = Manifest.read(released.path)
    assert manifest.root == Manifest.read(accepted.path).root
    for scan in manifest:
        assert not scan.flags
        assert scan.fold is None
        assert scan.path.startswith("bids/sub-syn")
    for path in released.path.rglob("*"):
        assert path.is_dir() or str(accepted.path.parent).encode() not in path.read_bytes()


def test_pages_carry_the_date_of_the_certificate(released):
    issued = json.loads((released.path / "certificate.json").read_text())["body"]["issued"]
    assert (released.path / "CHANGES").read_text().startswith(f"1.0.0 {issued[:10]}")
    assert datetime.fromisoformat(issued) < datetime.now(UTC)


def test_voxels_of_the_release_are_those_of_the_cohort(released, accepted):
    for ours, theirs in zip(
        Manifest.read(released.path), Manifest.read(accepted.path), strict=True
    ):
        exported = load_scan(released.path, ours)
        original = load_scan(accepted.path, theirs)
        np.testing.assert_array_equal(exported.array, original.array)
