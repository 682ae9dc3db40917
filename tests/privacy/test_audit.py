import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from medsynth.core.certificate import Certificate
from medsynth.core.errors import CertificateInvalid, TooFewSubjects, UsageProblem
from medsynth.core.keys import DEMO_KEYS, Keys
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import open_stage
from privacy.access import Access
from privacy.audit import audit
from privacy.folds import RealFolds
from privacy.policy import read_policy
from privacy.vault import Rejected, expiry, lock, unlock
from privacy.verdict import recompute

FOLDS = {"train": 70, "control": 40, "calibration": 30}
NAMES = [name for name, count in FOLDS.items() for _ in range(count)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, store, phantoms):
    return store(tmp_path_factory.mktemp("real"), "prepared", phantoms(140, seed=1), NAMES)


@pytest.fixture(scope="module")
def run(prepared, policy, phantoms, soften, store):
    """Audits volumes as a cohort."""

    def call(out, volumes, **changes):
        given = {
            "policy": policy,
            "keys": DEMO_KEYS,
            "round_trip": soften,
            "redraw": lambda requests, attempt: phantoms(len(requests), seed=900 + attempt),
            "real": RealFolds.from_prepared(prepared),
            "model_digest": None,
            "ledger": out / "home" / "judge.jsonl",
        } | changes
        access = Access(given.pop("round_trip"), given.pop("redraw"))
        return audit(
            store(out, "cohort", volumes), given.pop("real"), out, given.pop("keys"),
            given.pop("policy"), access=access, folds_digest="f" * 64, **given,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def fresh(run, phantoms, tmp_path_factory):
    """The audit of a cohort of fresh phantoms with one copy among them, and its folder.

    An old file lies in the vault, locked by a key that nobody has anymore.
    """
    out = tmp_path_factory.mktemp("fresh")
    volumes = np.concatenate([phantoms(59, seed=50), phantoms(140, seed=1)[:1]])
    old = Rejected(("syn-old",), ("smallest",), volumes[:1], expiry(-1))
    lock(out / "vault", old, dataclasses.replace(DEMO_KEYS, vault=bytes(32)))
    return run(out, volumes, vault=out / "vault"), out


def rows(found, gate):
    return {row["kind"]: row for row in found.summary["gates"] if row["gate"] == gate}


def test_fresh_phantoms_pass_every_gate(fresh):
    found, _ = fresh
    assert {row["result"] for row in rows(found, "partition").values()} == {"PASS"}
    assert {row["result"] for row in rows(found, "self_test").values()} == {"PASS"}
    assert found.summary["verdict"] == found.certificate.verdict == "PASS"


def test_a_cohort_of_copies_fails(run, phantoms, tmp_path):
    found = run(tmp_path, phantoms(140, seed=1)[:60], redraw=None)
    assert found.certificate.verdict == "FAIL"
    assert rows(found, "partition")["excess"]["result"] == "FAIL"
    assert rows(found, "partition")["p_value"]["result"] == "FAIL"
    assert rows(found, "rejection_rate")["cohort"]["result"] == "FAIL"
    assert len(Manifest.read(found.accepted.path)) == 0


def test_the_blinded_and_the_emptied_screen_lose_their_power(fresh):
    found, _ = fresh
    checks = rows(found, "self_test")
    assert checks["blinded_threshold"]["estimate"] < 0.5
    assert checks["emptied_index"]["estimate"] == 0
    assert checks["wrong_normalization"]["result"] == "PASS"
    assert checks["inverted_gates"]["estimate"] == 1


def test_the_copy_is_locked_away_and_what_expired_is_gone(fresh, phantoms):
    found, out = fresh
    copy = phantoms(140, seed=1)[0]
    accepted = Manifest.read(found.accepted.path)
    assert len(accepted) == 60
    assert not any(np.array_equal(a, copy) for a in load_arrays(found.accepted.path, accepted))
    (locked,) = (out / "vault").iterdir()
    assert any(np.array_equal(volume, copy) for volume in unlock(locked, DEMO_KEYS).volumes)


def test_accepted_scans_keep_id_attributes_and_voxels(fresh):
    found, out = fresh
    before = {scan.scan_id: scan for scan in Manifest.read(out / "cohort")}
    after = Manifest.read(found.accepted.path)
    same = [scan for scan in after if scan.digest == before[scan.scan_id].digest]
    assert len(same) >= 50
    assert all(scan.attributes == before[scan.scan_id].attributes for scan in after)
    assert all(scan.subject_id == scan.scan_id for scan in after)
    assert found.certificate.body["digests"]["cohort"] == after.root


def test_without_a_redraw_the_count_is_short_by_a_multiple_of_five(run, phantoms, tmp_path, policy):
    volumes = np.concatenate([phantoms(38, seed=51), phantoms(140, seed=1)[:2]])
    found = run(tmp_path, volumes, redraw=None)
    assert (40 - len(Manifest.read(found.accepted.path))) % 5 == 0
    assert found.summary["num_rejected"] % 5 == 0


def test_an_audit_is_found_not_run_when_nothing_changed(fresh, run, phantoms):
    _, out = fresh
    volumes = np.concatenate([phantoms(59, seed=50), phantoms(140, seed=1)[:1]])
    again = run(out, volumes, round_trip=lambda volumes: 1 / 0)
    assert again.accepted.reused
    assert again.evidence.reused


def test_nothing_real_stands_in_what_leaves(fresh, prepared):
    found, _ = fresh
    real = Manifest.read(prepared.path)
    secret = {name for scan in real for name in (scan.scan_id, scan.subject_id, scan.digest)}
    for stage in (found.accepted, found.evidence):
        for path in stage.path.rglob("*"):
            data = path.read_bytes().decode("latin-1") if path.is_file() else path.name
            assert not any(name in data for name in secret)
    text = (found.evidence.path / "certificate.json").read_text()
    text += (found.evidence.path / "audit.json").read_text()
    assert not any(word in text for word in ("score", "neighbor", "null_values", "S_h"))
    assert {p.name for p in found.evidence.path.iterdir()} == {
        "audit.json", "certificate.json", "receipt.json",
    }  # fmt: skip


def test_the_certificate_holds_and_one_changed_number_is_noticed(fresh):
    found, _ = fresh
    certificate = Certificate.read(found.evidence.path / "certificate.json")
    certificate.check(trusted={DEMO_KEYS.public_key})
    body = json.loads(json.dumps(dict(certificate.body)))
    body["gates"][0]["n"] += 1
    with pytest.raises(CertificateInvalid, match="signature"):
        dataclasses.replace(certificate, body=body).check(trusted=None)
    with pytest.raises(CertificateInvalid, match="expired"):
        certificate.check(trusted=None, now=datetime.now(UTC) + timedelta(days=370))


def test_the_verdict_follows_from_the_rows_alone(fresh):
    found, _ = fresh
    body = json.loads(json.dumps(dict(found.certificate.body)))
    assert recompute(body).word == "PASS"
    assert recompute(body).reasons == ()


@pytest.mark.parametrize("change", ["verdict", "row", "limit", "absent", "policy"])
def test_a_verdict_that_does_not_follow_is_refused(fresh, change):
    body = json.loads(json.dumps(dict(fresh[0].certificate.body)))
    if change == "verdict":
        body["verdict"] = "INCONCLUSIVE"
    elif change == "row":
        body["gates"][0]["estimate"] = 0.5
    elif change == "limit":
        body["gates"][0]["limit"] = 0.1
    elif change == "absent":
        body["gates"].pop()
    else:
        body["policy"]["terms"]["alpha"] = 0.2
    with pytest.raises(CertificateInvalid):
        recompute(body)


def test_too_few_calibration_subjects_are_inconclusive_and_counted(run, phantoms, tmp_path, store):
    names = NAMES[:110] + ["calibration"] * 10
    few = store(tmp_path, "prepared", phantoms(120, seed=1), names)
    found = run(tmp_path, phantoms(40, seed=52), real=RealFolds.from_prepared(few))
    assert found.certificate.verdict == "INCONCLUSIVE"
    power = rows(found, "screen_power")["exact"]
    assert power["result"] == "INCONCLUSIVE"
    assert "more calibration subjects" in power["reason"]
    assert recompute(found.certificate.body).word == "INCONCLUSIVE"


def test_without_an_autoencoder_its_kind_is_not_run_and_nothing_passes(run, phantoms, tmp_path):
    found = run(tmp_path, phantoms(40, seed=53), round_trip=None)
    assert rows(found, "screen_power")["round_trip"]["result"] == "NOT_RUN"
    assert found.certificate.verdict == "INCONCLUSIVE"
    assert found.certificate.body["screen"]["null_holds_round_trips"] is False


def test_demo_keys_are_refused_by_other_policies(run, phantoms, tmp_path):
    with pytest.raises(UsageProblem, match="keys of your own"):
        run(tmp_path, phantoms(2, seed=0), policy=read_policy("pilot"))


def test_scans_of_another_shape_are_refused(run, phantoms, tmp_path):
    with pytest.raises(UsageProblem, match="shape of the real ones"):
        run(tmp_path, phantoms(2, seed=0, size=24))


def test_an_empty_fold_is_named(store, phantoms, tmp_path):
    names = ["train", "train", "control"]
    prepared = store(tmp_path, "prepared", phantoms(3, seed=0), names)
    with pytest.raises(TooFewSubjects, match="calibration"):
        RealFolds.from_prepared(prepared)


def test_folders_stand_for_folds_and_may_share_no_subject(store, phantoms, tmp_path):
    stages = {
        name: store(tmp_path, name, phantoms(3, seed=seed))
        for seed, name in enumerate(("train", "control", "calibration"))
    }
    found = RealFolds.from_folders(**stages)
    assert (found.train.num_subjects, found.test) == (3, None)
    with pytest.raises(UsageProblem, match="one fold only"):
        RealFolds.from_folders(**{**stages, "control": stages["train"]})


def test_evidence_is_signed_anew_under_other_keys(fresh, run, phantoms, tmp_path, policy):
    own = Keys(bytes(32), bytes([1]) * 32, bytes([2]) * 32)
    strict = policy.model_copy(update={"allows_demo_keys": False})
    found = run(tmp_path, phantoms(12, seed=54), keys=own, policy=strict)
    assert found.certificate.public_key == own.public_key
    assert not found.certificate.is_demo
    open_stage(found.evidence.path)
