"""Certificates under every shipped policy: whatever the rows say, anyone comes to the same word."""

import json

import pytest

from medsynth.core.certificate import Certificate
from medsynth.core.errors import CertificateInvalid
from medsynth.core.keys import Keys
from privacy.evidence import NEVER_FAIL, Interval, rate
from privacy.gates.every import all_terms
from privacy.gates.term import not_run, row_of
from privacy.policy import read_policy
from privacy.verdict import certify, conclude, does_not_show, recompute, threat_model

OWN = Keys(bytes(32), bytes([1]) * 32, bytes([2]) * 32)
POLICIES = ("demo", "pilot", "research", "research_model", "strict")
P_VALUES = {("partition", "p_value"), ("copying", "c_t")}


def row(key, asked, result):
    """A row that comes out as wanted, as its gate would write it; the reason says nothing."""
    if result == "NOT_RUN":
        return not_run(*key, asked, "nobody asked")
    inward = 1.0 if asked.side == "above" else -1.0
    n = 1 if result == "INCONCLUSIVE" else 40 * asked.minimum + 4000
    toward = -inward if result == "FAIL" else inward
    if asked.is_rate:
        share = asked.limit >= 0.8 if result == "INCONCLUSIVE" else toward > 0
        return row_of(*key, rate(n * share, n), n, asked)
    estimate = asked.limit + toward * 0.005
    if key in P_VALUES:
        return row_of(*key, estimate, n, asked)
    wide = Interval(estimate, asked.limit - 1, asked.limit + 1)
    narrow = Interval(estimate, estimate, estimate)
    return row_of(*key, wide if result == "INCONCLUSIVE" else narrow, n, asked)


def signed(policy, results, missing=0):
    """A certificate whose rows take these results in turn."""
    terms = all_terms(policy)
    rows = [row(k, t, results[n % len(results)]) for n, (k, t) in enumerate(terms.items())]
    found = certify(
        conclude(rows), policy, OWN,
        digests={"cohort": "c" * 64, "model": None, "folds": "f" * 64, "code": "d" * 64},
        counts={"num_synthetic": 300, "num_rejected": 5},
        subjects={"train": 500, "calibration_missing": missing},
        screen={"alpha": policy.alpha},
        ledger={"num_drawn": 300},
    )  # fmt: skip
    return rows, found


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    "results",
    [
        ("PASS",),
        ("FAIL",),
        ("INCONCLUSIVE",),
        ("NOT_RUN",),
        ("PASS", "NOT_RUN"),
        ("PASS", "INCONCLUSIVE", "FAIL", "NOT_RUN"),
    ],
)
def test_a_certificate_under_every_policy_verifies(name, results, tmp_path):
    policy = read_policy(name)
    rows, found = signed(policy, results)
    found.write(tmp_path / "certificate.json")
    read = Certificate.read(tmp_path / "certificate.json")
    read.check(trusted=[OWN.public_key])
    again = recompute(json.loads(json.dumps(dict(read.body))))
    assert again.word == found.verdict
    assert again.rows == tuple(rows)
    wanted = [results[n % len(results)] for n in range(len(rows))]
    weak = [r.gate in NEVER_FAIL and word == "FAIL" for r, word in zip(rows, wanted, strict=True)]
    assert [r.result for r in rows] == [
        "INCONCLUSIVE" if is_weak else word for word, is_weak in zip(wanted, weak, strict=True)
    ]


@pytest.mark.parametrize("name", POLICIES)
def test_one_row_of_each_policy_decides(name):
    policy = read_policy(name)
    assert signed(policy, ("PASS",))[1].verdict == "PASS"
    assert signed(policy, ("PASS",) * 5 + ("NOT_RUN",))[1].verdict == "INCONCLUSIVE"
    body = dict(signed(policy, ("PASS", "NOT_RUN"))[1].body)
    with pytest.raises(CertificateInvalid, match="does not follow"):
        recompute({**body, "verdict": "PASS"})


@pytest.mark.parametrize("name", POLICIES)
def test_without_a_threshold_no_power_counts(name):
    policy = read_policy(name)
    body = dict(signed(policy, ("PASS",), missing=170)[1].body)
    with pytest.raises(CertificateInvalid):
        recompute(body)


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_policy_does_not_ask_for_is_named_in_its_certificate(name):
    policy, said = read_policy(name), " ".join(does_not_show(read_policy(name)))
    assert ("membership inference" in said) == (policy.membership is None)
    assert ("differential privacy" in said) == (policy.differential_privacy is None)
    assert "another population" in said


@pytest.mark.parametrize("name", POLICIES)
def test_what_was_not_run_is_named_in_its_certificate(name):
    rows, found = signed(read_policy(name), ("PASS", "NOT_RUN"))
    said = [line for line in found.body["does_not_show"] if line.startswith("not run: ")]
    told = {kind for line in said for kind in line.rpartition("(")[2].rstrip(")").split(", ")}
    assert told == {row.kind for row in rows if row.result == "NOT_RUN"}
    assert signed(read_policy(name), ("PASS",))[1].body["does_not_show"] == list(
        does_not_show(read_policy(name))
    )


def test_attackers_are_those_whom_the_policy_asks_about():
    assert threat_model(read_policy("pilot")).startswith("T1: ")
    assert "T2" not in threat_model(read_policy("demo"))
    assert all(who in threat_model(read_policy("strict")) for who in ("T1", "T2", "T3"))
