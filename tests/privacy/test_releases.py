"""What left before of a generator is judged beside what may leave now, and written down once."""

import json
import shutil

import numpy as np
import pytest

from medsynth.core.errors import StaleInput
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from privacy import case
from privacy.access import Access
from privacy.audit import audit
from privacy.case import Span
from privacy.folds import RealFolds
from privacy.gates.releases import row
from privacy.ledger import read_history
from privacy.past import Beside, Past
from privacy.screen.decide import Screen
from privacy.verdict import recompute

NAMES = ["train"] * 70 + ["control"] * 40 + ["calibration"] * 30 + ["test"] * 6
NUM = 30


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, store, phantoms):
    return store(tmp_path_factory.mktemp("real"), "prepared", phantoms(146, seed=2), NAMES)


@pytest.fixture(scope="module", autouse=True)
def one_screen():
    """All audits here are against the same people: one screen does for all."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        calibrate = Screen.calibrate
        patch.setattr(
            Screen, "calibrate", lambda *args: made.get(0) or made.setdefault(0, calibrate(*args))
        )
        yield


@pytest.fixture(scope="module")
def run(prepared, policy, phantoms, soften, store):
    """Audits phantoms of a seed as a cohort of a model, on one ledger and one self-test."""
    tested = {}

    def call(home, seed, *, model="m1", **changes):
        out = home / f"out-{model}-{seed}"
        if model in tested and not out.exists():
            shutil.copytree(tested[model], out / "self_test")
        given = {"span": Span(seed, 0, NUM), "ledger": home / "judge.jsonl", **changes}
        found = audit(
            store(out, "cohort", phantoms(NUM, seed=seed)),
            RealFolds.from_prepared(prepared), out, DEMO_KEYS, policy,
            access=Access(soften), model_digest=model, folds_digest="f" * 64, **given,
        )  # fmt: skip
        tested.setdefault(model, out / "self_test")
        return found

    return call


@pytest.fixture(scope="module")
def home(tmp_path_factory, run):
    """A ledger that knows of two cohorts of one model and one of another, and their audits."""
    folder = tmp_path_factory.mktemp("home")
    audits = [run(folder, 50), run(folder, 51), run(folder, 52, model="m2")]
    return folder, audits


def lines(folder, kind="cohort"):
    told = [json.loads(line) for line in (folder / "judge.jsonl").read_text().splitlines()]
    return [line for line in told if line["kind"] == kind]


def releases(found):
    return next(r for r in found.summary["gates"] if r["gate"] == "releases")


def test_a_second_cohort_of_a_model_is_judged_beside_the_first(home):
    first, second, _ = home[1]
    assert first.summary["verdict"] == second.summary["verdict"] == "PASS"
    assert first.summary["ledger"]["num_earlier_cohorts"] == 0
    assert second.summary["ledger"]["num_earlier_cohorts"] == 1
    kept = len(Manifest.read(first.accepted.path))
    assert second.summary["ledger"]["num_earlier_scans"] == kept
    assert second.summary["ledger"]["num_drawn"] == 2 * NUM
    assert f"judged together with {kept} scans of 1 earlier cohort" in releases(second)["reason"]
    assert recompute(second.certificate.body).word == "PASS"
    assert second.certificate.body["ledger"] == second.summary["ledger"]


def test_a_cohort_of_another_model_is_judged_alone(home):
    other = home[1][2].summary
    assert other["ledger"]["num_earlier_cohorts"] == 0
    assert other["ledger"]["num_drawn"] == NUM
    assert "no earlier cohort" in releases(home[1][2])["reason"]


def test_every_cohort_stands_in_the_ledger_once(home, run):
    folder, audits = home
    assert [line["model"] for line in lines(folder)] == ["m1", "m1", "m2"]
    again = [run(folder, 50), run(folder, 51), run(folder, 52, model="m2")]
    assert all(found.accepted.reused and found.evidence.reused for found in again)
    assert len(lines(folder)) == 3
    assert [f.certificate.digest for f in again] == [f.certificate.digest for f in audits]


def test_the_certificate_pins_the_ledger(home):
    history = read_history(home[0] / "judge.jsonl", DEMO_KEYS)
    heads = [found.certificate.body["digests"]["ledger"] for found in home[1]]
    assert heads == [line["digest"] for line in history.lines if line["kind"] == "cohort"]


def test_folds_are_spent_by_the_screen_that_used_them(home):
    folder, (first, second, other) = home
    told = {name: line for line in lines(folder, "spent") for name in [line["fold"]]}
    assert set(told) == {"calibration", "test"}
    fresh = [found.summary["ledger"] for found in (first, second, other)]
    assert [one["calibration_fresh"] for one in fresh] == [30, 30, 0]
    assert [one["test_fresh"] for one in fresh] == [6, 6, 0]
    screens = [found.certificate.body["screen"] for found in (first, second, other)]
    assert [one["test_fold"] is None for one in screens] == [False, False, True]


def test_no_id_of_the_ledger_leaves(home):
    ids = {name for line in lines(home[0], "spent") for name in line["subjects"]}
    assert len(ids) == 36
    for found in home[1]:
        text = "".join(p.read_text() for p in found.evidence.path.glob("*.json"))
        assert not any(name in text for name in ids)


def test_scans_that_left_and_were_moved_must_be_handed_in(run, tmp_path):
    first = run(tmp_path, 53)
    moved = first.accepted.path.rename(tmp_path / "archive")
    second = run(tmp_path, 54)
    assert second.summary["verdict"] == "INCONCLUSIVE"
    assert releases(second)["result"] == "INCONCLUSIVE"
    assert "hand in their folders with --earlier" in releases(second)["reason"]
    assert recompute(second.certificate.body).word == "INCONCLUSIVE"
    given = run(tmp_path, 54, earlier=[moved])
    assert given.summary["verdict"] == "PASS"
    assert not given.evidence.reused
    assert given.summary["ledger"]["num_drawn"] == 2 * NUM


def test_scans_that_were_changed_since_do_not_count(run, tmp_path):
    first = run(tmp_path, 55)
    victim = next((first.accepted.path / "volumes").iterdir())
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    assert releases(run(tmp_path, 56))["result"] == "INCONCLUSIVE"


def test_what_is_harmless_alone_and_harmful_beside_fails(run, tmp_path, phantoms, monkeypatch):
    run(tmp_path, 57)
    copies = phantoms(146, seed=2)[:40]
    harm = Beside(copies, ({"age": 50.0},) * 40, 1, 0)
    monkeypatch.setattr(Past, "load", lambda self, shape, ours: harm)
    found = run(tmp_path, 58).summary
    assert found["verdict"] == "FAIL"
    assert found["num_rejected"] <= 10
    results = {(r["gate"], r["kind"]): r["result"] for r in found["gates"]}
    assert results["partition", "excess"] == "FAIL"
    assert results["rejection_rate", "cohort"] == "PASS"


@pytest.mark.parametrize("where", ["before the certificate", "before the ledger"])
def test_an_audit_that_was_killed_is_written_once(run, tmp_path, monkeypatch, where):
    def kill(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        name = "certify" if where == "before the certificate" else "record_cohort"
        patch.setattr(case, name, kill)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 59)
    assert len(lines(tmp_path)) == (where == "before the certificate")
    assert run(tmp_path, 59).accepted.reused
    assert len(lines(tmp_path)) == 1


def test_a_lost_ledger_learns_of_the_cohort_again(run, tmp_path):
    run(tmp_path, 60)
    (tmp_path / "judge.jsonl").unlink()
    assert run(tmp_path, 60).evidence.reused
    assert len(lines(tmp_path)) == 1


def test_of_two_audits_at_once_the_later_one_is_run_again(run, tmp_path, monkeypatch):
    nobody = Past()
    run(tmp_path, 61)
    with monkeypatch.context() as patch:
        patch.setattr(case.Case, "past", lambda self, given: nobody)
        with pytest.raises(StaleInput, match="judged together: run the audit again"):
            run(tmp_path, 62)
    assert len(lines(tmp_path)) == 1
    assert run(tmp_path, 62).summary["ledger"]["num_earlier_cohorts"] == 1


def test_the_same_scans_in_two_releases_count_once(run, tmp_path, phantoms, store):
    first = run(tmp_path, 63)
    past = Past((), {"root": first.accepted.path})
    scans = Manifest.read(first.accepted.path).scans
    assert len(past.load((32, 32, 1), scans[:5]).volumes) == len(scans) - 5
    assert np.array_equal(past.load((32, 32, 1), scans).volumes, np.zeros((0, 32, 32, 1)))


def test_the_row_names_what_is_missing(policy):
    assert row(0, 0, 0, policy).result == "PASS"
    assert row(3, 0, 900, policy).result == "PASS"
    missing = row(3, 1, 600, policy)
    assert missing.result == "INCONCLUSIVE"
    assert "600 scans of 2 earlier cohorts" in missing.reason
    assert "scans of 1 more cohort were not found" in missing.reason
