import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from privacy.attacks.consistency import Consistency, consistency, kappa
from privacy.gates.consistency import rows, terms
from privacy.policy import Policy
from privacy.terms import ConsistencyTerms


@pytest.fixture
def asked(policy: Policy) -> Policy:
    terms = ConsistencyTerms(kappa_at_least=0.9, num_seeds=5)
    return policy.model_copy(update={"consistency": terms})


def flags(num_seeds: int, share_flipped: float, seed: int = 0) -> np.ndarray:
    """Detectors that agree with the truth but for a share of scans, each with its own."""
    rng = np.random.default_rng(seed)
    truth = np.arange(1000) < 500
    return truth ^ (rng.random((num_seeds, 1000)) < share_flipped)


def test_kappa_of_cohens_own_table():
    """Yes-yes 20, yes-no 5, no-yes 10, no-no 15: p_o .7, p_e .5."""
    one = np.repeat([True, True, False, False], [20, 5, 10, 15])
    two = np.repeat([True, False, True, False], [20, 5, 10, 15])
    assert kappa(one, two) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_sklearn(seed):
    one, two = np.random.default_rng(seed).random((2, 50)) < 0.3
    assert kappa(one, two) == pytest.approx(cohen_kappa_score(one, two))


def test_agreement_by_chance_is_none_and_a_constant_detector_tells_nothing():
    assert abs(kappa(*(np.random.default_rng(1).random((2, 20000)) < 0.5))) < 0.03
    everything = np.ones(9, bool)
    assert kappa(everything, everything) == kappa(~everything, ~everything) == 0


def test_the_worst_pair_counts():
    good = flags(4, 0.0)
    found = consistency(np.concatenate([good, ~good[:1]]))
    assert found == Consistency(-1.0, 5, 1000)


def test_one_detector_or_no_scan_cannot_be_compared():
    for shape in ((1, 9), (3, 0)):
        with pytest.raises(ValueError, match="two detectors and a scan"):
            consistency(np.ones(shape, bool))


def test_detectors_that_agree_pass_and_those_that_do_not_never_do(asked):
    for seed in range(20):
        (agree,) = rows(consistency(flags(5, 0.005, seed)), asked)
        (differ,) = rows(consistency(flags(5, 0.10, seed)), asked)
        assert agree.result == "PASS"
        assert differ.result != "PASS"


def test_fewer_seeds_than_asked_are_inconclusive_and_say_how_many_are_missing(asked):
    (row,) = rows(consistency(flags(2, 0.0)), asked)
    assert (row.result, row.n) == ("INCONCLUSIVE", 2)
    assert "3 more detectors" in row.reason


def test_without_flags_it_was_not_run_and_without_a_section_there_is_no_row(asked, policy):
    (row,) = rows(None, asked)
    assert row.result == "NOT_RUN"
    assert "self-test" in row.reason
    assert set(terms(asked)) == {(row.gate, row.kind)}
    assert rows(consistency(flags(5, 0.0)), policy) == []
