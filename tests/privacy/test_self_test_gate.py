from dataclasses import replace

import pytest

from privacy.attacks.partition import Partition
from privacy.gates.self_test import rows, terms
from privacy.self_test.result import SelfTest

HONEST = SelfTest(
    found={"exact": (30, 30)},
    copies=Partition((95, 100), (1, 80), 0.0001),
    blinded=(30, 390),
    emptied=(0, 390),
    misnormalized=(2, 100),
    other_scan=None,
    consistency=None,
)
SOUND = (18, 18)


def results(found: SelfTest | None, sound: tuple[int, int], policy) -> dict[str, str]:
    return {row.kind: row.result for row in rows(found, sound, policy)}


def test_an_honest_judge_passes_every_row(policy):
    assert set(results(HONEST, SOUND, policy).values()) == {"PASS"}


@pytest.mark.parametrize(
    ("sabotage", "kind"),
    [
        ({"copies": Partition((2, 100), (1, 80), 0.9)}, "copies"),
        ({"blinded": (380, 390)}, "blinded_threshold"),
        ({"emptied": (380, 390)}, "emptied_index"),
        ({"misnormalized": (99, 100)}, "wrong_normalization"),
    ],
)
def test_each_sabotage_that_goes_unnoticed_turns_its_row(sabotage, kind, policy):
    found = results(replace(HONEST, **sabotage), SOUND, policy)
    assert found[kind] == "INCONCLUSIVE"
    assert [result for name, result in found.items() if name != kind] == ["PASS"] * 4


def test_one_inverted_gate_of_many_is_enough(policy):
    assert results(HONEST, (17, 18), policy)["inverted_gates"] == "INCONCLUSIVE"


def test_a_self_test_that_did_not_run_says_so_in_every_row(policy):
    found = rows(None, SOUND, policy)
    assert {row.result for row in found} == {"NOT_RUN"}
    assert {(row.gate, row.kind) for row in found} == set(terms(policy))
    assert all("hand in" in row.reason for row in found)
