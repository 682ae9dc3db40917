import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.train.dp import PrivateSteps
from medsynth.train.dp_accounting import plan_mechanism
from medsynth.train.dp_config import DpConfig
from privacy.attacks.canary import CanaryAudit, audit_canaries, count_guesses, epsilon_bound
from privacy.attacks.canary_scans import draw_canaries
from privacy.gates import canary, differential_privacy
from privacy.gates.differential_privacy import PrivacyClaim
from privacy.terms import CanaryTerms, PrivacyBudget

SCHEMA = AttributeSchema((Attribute("age", "continuous"), Attribute("sex", "category")))
KNOWN = ({"age": 20.0, "sex": "F"}, {"age": 80.0, "sex": "M"}, {"age": None, "sex": None})
SHAPE = (96, 96, 1)
DP = DpConfig(epsilon=1.0, subjects_per_step=30, draws_per_subject=1)


def test_the_bound_has_the_figures_of_the_design():
    perfect = [epsilon_bound(m, m, m) for m in (100, 200, 500, 1000)]
    assert perfect == pytest.approx([3.49, 4.19, 5.10, 5.78], abs=0.005)
    half = [epsilon_bound(m, m // 2, m // 2) for m in (100, 200, 500, 1000)]
    assert half == pytest.approx([2.78, 3.49, 4.40, 5.09], abs=0.005)
    assert epsilon_bound(1000, 1000, 700) == pytest.approx(0.73, abs=0.005)
    assert epsilon_bound(1000, 1000, 550) == pytest.approx(0.09, abs=0.005)
    assert epsilon_bound(500, 250, 190) < 1 < epsilon_bound(500, 250, 196)


@pytest.mark.parametrize("num_guesses", [20, 100, 400])
def test_perfect_guessing_without_delta_has_a_closed_form(num_guesses):
    q = 0.05 ** (1 / num_guesses)
    expected = math.log(q / (1 - q))
    assert epsilon_bound(500, num_guesses, num_guesses, 0.0) == pytest.approx(expected, abs=1e-4)


def test_guessing_at_chance_or_not_at_all_refutes_nothing():
    assert epsilon_bound(500, 250, 125) == epsilon_bound(500, 250, 0) == 0.0
    assert epsilon_bound(500, 0, 0) == 0.0


def test_a_larger_delta_refutes_less():
    bounds = [epsilon_bound(500, 250, 220, delta) for delta in (0.0, 1e-5, 1e-4, 1e-3)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > bounds[-1]


def test_randomized_response_is_refuted_as_seldom_as_promised():
    q, rng = 1 / (1 + math.exp(-1)), np.random.default_rng(0)
    right = rng.binomial(250, q, size=2000)
    bounds = {v: epsilon_bound(500, 250, v, 0.0) for v in set(right.tolist())}
    refuted = sum(bounds[v] > 1 for v in right.tolist())
    assert 0.02 * 2000 < refuted <= binom.ppf(0.999, 2000, 0.05)


def test_scores_that_know_nothing_seldom_raise_an_alarm():
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(200):
        audit = count_guesses(rng.standard_normal(200), rng.random(200) < 0.5, 100, 1e-5)
        alarms += audit.epsilon > 0
    assert alarms <= binom.ppf(0.999, 200, 0.05)


def test_both_tails_are_guessed_and_the_middle_is_not():
    is_member = np.arange(8) >= 4
    scores = np.array([-4.0, -3, 1, -1, -1, 1, 3, 4])
    found = count_guesses(scores, is_member, 4, 0.0)
    assert (found.num_guesses, found.num_right) == (4, 4)
    assert count_guesses(-scores, is_member, 4, 0.0).num_right == 0


def test_canaries_are_lively_and_no_two_share_their_attributes():
    found = draw_canaries(60, (24, 20, 6), SCHEMA, KNOWN, seed=0)
    assert found.volumes.shape == (60, 24, 20, 6)
    assert found.volumes.min() >= 0
    assert found.volumes.max() <= 1
    assert found.volumes.std(axis=(1, 2, 3)).min() > 0.3
    assert len({tuple(row.values()) for row in found.attributes}) == 60
    assert {row["sex"] for row in found.attributes} == {"F", "M"}
    assert all(20 <= row["age"] <= 80 for row in found.attributes)
    flat = found.volumes.reshape(60, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(60)).max() < 0.5
    again = draw_canaries(60, (24, 20, 6), SCHEMA, KNOWN, seed=0)
    assert np.array_equal(again.volumes, found.volumes)
    assert again.attributes == found.attributes


def test_a_schema_of_few_words_still_has_canaries():
    schema = AttributeSchema((Attribute("sex", "category"), Attribute("note", "text")))
    found = draw_canaries(5, (8, 8, 1), schema, KNOWN, seed=0)
    assert {row["sex"] for row in found.attributes} == {"F", "M"}
    assert all(row["note"] is None for row in found.attributes)


class Mean(torch.nn.Module):
    """A model that learns the sum of what it sees."""

    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(size))

    def forward(self, x):
        return -(x @ self.weight)


@dataclasses.dataclass
class Twin:
    weight: np.ndarray

    def encode(self, volumes):
        return volumes.reshape(len(volumes), -1) - 0.5

    def condition(self, attributes):
        return None

    def path(self, t):
        return 1 - t, t

    def predict(self, z_t, t, condition):
        return z_t, z_t


def remember(twin, volumes, attributes):
    return twin.encode(volumes) @ twin.weight


def twin_trainer(mechanism):
    """Trains as `--dp` does, on the canaries and 40 others."""

    def train(volumes, attributes):
        x = torch.from_numpy(Twin(np.zeros(1)).encode(volumes)).float()
        x = torch.cat([x, 0.1 * torch.randn(40, x.shape[1])])
        rows = [np.array([n]) for n in range(len(x))]
        steps = PrivateSteps(DP, mechanism, rows, lambda r: (x[r],), lambda f, x: f(x).mean())
        network = Mean(x.shape[1])
        for step in range(mechanism.num_steps):
            steps(network, step)
            network.weight.data -= network.weight.grad
        return Twin(network.weight.detach().numpy())

    return train


@pytest.fixture(scope="module")
def mechanism():
    return plan_mechanism(DP, 140, 20)


@pytest.fixture(scope="module")
def planted():
    return draw_canaries(200, SHAPE, SCHEMA, KNOWN, seed=3)


@pytest.fixture
def strict(policy):
    """Asks for both, of audits of 200 canaries."""
    return policy.model_copy(
        update={
            "canary": CanaryTerms(epsilon_at_most=1.5, min_canaries=200),
            "differential_privacy": PrivacyBudget(epsilon_at_most=8.0, delta_at_most=1e-3),
        }
    )


CLAIM = PrivacyClaim(1.0, 1e-5, 500, ("screening and audit",))


def test_a_private_training_without_noise_is_caught(planted, mechanism, strict):
    torch.manual_seed(0)
    silent = dataclasses.replace(mechanism, noise_multiplier=0.0)
    found = audit_canaries(twin_trainer(silent), remember, planted, seed=0)
    row, beyond = canary.rows(found, strict, CLAIM)
    assert found.epsilon > 1.5
    assert row.result == beyond.result == "FAIL"
    assert "the claimed differential privacy does not hold" in row.reason
    assert "the claim does not hold" in beyond.reason


def test_a_private_training_with_its_noise_is_not(planted, mechanism, strict):
    torch.manual_seed(0)
    bounds = []
    for seed in range(3):
        found = audit_canaries(twin_trainer(mechanism), remember, planted, seed=seed)
        bounds.append(found.epsilon)
        assert [row.result for row in canary.rows(found, strict, CLAIM)] == ["PASS", "PASS"]
    assert max(bounds) < 1


def test_only_canaries_whose_coin_fell_reach_the_twin(planted):
    given = []

    def train(volumes, attributes):
        given.append((volumes, attributes))
        return Twin(np.zeros(volumes[0].size))

    audit_canaries(train, remember, planted, seed=0)
    ((volumes, attributes),) = given
    assert 70 < len(volumes) == len(attributes) < 130
    places = [planted.attributes.index(row) for row in attributes]
    assert np.array_equal(volumes, planted.volumes[places])


def test_policy_and_claim_bind_in_rows_of_their_own(strict):
    found = CanaryAudit(200, 100, 86, 1e-5)
    assert 1 < found.epsilon < 1.5
    row, beyond = canary.rows(found, strict, CLAIM)
    assert (row.result, row.limit) == ("PASS", 1.5)
    assert (beyond.result, beyond.limit) == ("FAIL", 0.0)
    assert beyond.estimate == pytest.approx(found.epsilon - 1)
    loose = dataclasses.replace(CLAIM, epsilon=8.0)
    assert [row.result for row in canary.rows(found, strict, loose)] == ["PASS", "PASS"]
    assert [row.result for row in canary.rows(found, strict)] == ["PASS", "NOT_RUN"]


def test_a_claim_binds_only_where_the_policy_asks_for_one(strict):
    plain = strict.model_copy(update={"differential_privacy": None})
    (row,) = canary.rows(CanaryAudit(200, 100, 86, 1e-5), plain, CLAIM)
    assert row.result == "PASS"
    assert "the claimed differential privacy does not hold" in row.reason


def test_too_few_canaries_and_none_are_told_from_good_ones(strict, policy):
    few = canary.rows(CanaryAudit(120, 60, 30, 1e-5), strict, CLAIM)
    assert {row.result for row in few} == {"INCONCLUSIVE"}
    assert all("80 more planted scans" in row.reason for row in few)
    assert canary.rows(CanaryAudit(120, 60, 60, 1e-5), strict)[0].result == "FAIL"
    assert {row.result for row in canary.rows(None, strict, CLAIM)} == {"NOT_RUN"}
    assert canary.rows(None, policy) == []
    assert canary.terms(policy) == differential_privacy.terms(policy) == {}


def test_a_claim_is_held_against_the_policy(strict, policy):
    results = [row.result for row in differential_privacy.rows(CLAIM, strict)]
    assert results == ["PASS", "PASS"]
    weak = dataclasses.replace(CLAIM, epsilon=9.0, delta=0.01)
    assert [row.result for row in differential_privacy.rows(weak, strict)] == ["FAIL", "FAIL"]
    assert "not covered: screening and audit" in differential_privacy.rows(CLAIM, strict)[0].reason
    missing = differential_privacy.rows(None, strict)
    assert {row.result for row in missing} == {"NOT_RUN"}
    assert all("train with --dp" in row.reason for row in missing)
    assert differential_privacy.rows(CLAIM, policy) == []


def test_a_claim_that_cannot_be_one_is_refused():
    with pytest.raises(ValueError, match="a claim needs epsilon above 0"):
        PrivacyClaim(0.0, 1e-5, 500)


def test_a_claim_is_read_from_a_checkpoints_statement():
    parts = [{"what": "a", "status": "dp"}, {"what": "b", "status": "not covered"}]
    statement = {"epsilon": 8, "delta": 1e-4, "num_subjects": 1000, "parts": parts}
    assert PrivacyClaim.from_statement(statement) == PrivacyClaim(8.0, 1e-4, 1000, ("b",))
