from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize

from privacy.attacks.membership import (
    MIN_STRATUM,
    Membership,
    by_subject,
    measure,
    membership,
    score_scans,
    without_difficulty,
)
from privacy.attacks.membership_scores import (
    RIDGE,
    auc_and_spread,
    cross_fitted,
    fit_weights,
    split_in_halves,
    standardized,
)
from privacy.attacks.membership_signals import START, TIMES, Probe, read_signals
from privacy.attacks.membership_strata import strata_of
from privacy.evidence import Interval
from privacy.folds import Fold
from privacy.gates.membership import rows, terms
from privacy.policy import Policy, read_policy

SHAPE = (3, 4, 1)


class Mixture:
    """The exact denoiser of equal Gaussians around scans: what it was given is what it knows.

    With attributes it knows each scan by its own: the condition leaves those with the same `who`.
    """

    def __init__(self, volumes: np.ndarray, width: float, who: Sequence[float] = ()) -> None:
        self.centers = volumes.reshape(len(volumes), -1).astype(np.float64)
        self.width, self.who = width, np.array(who)

    def encode(self, volumes):
        return volumes.reshape(len(volumes), -1).astype(np.float32)

    def condition(self, attributes):
        return None if attributes is None else np.array([row["who"] for row in attributes])

    def path(self, t):
        return 1 - t, t

    def predict(self, z_t, t, condition):
        a, s = self.path(t)
        variance = (a * self.width) ** 2 + s**2
        z = z_t.astype(np.float64)
        far = ((z[:, None] - a * self.centers) ** 2).sum(-1) / (2 * variance)
        if condition is not None and len(self.who):
            far = far + 1e4 * (condition[:, None] != self.who)
        weights = np.exp(far.min(1, keepdims=True) - far)
        center = weights @ self.centers / weights.sum(1, keepdims=True)
        clean = center + a * self.width**2 / variance * (z - a * center)
        return ((z - a * clean) / s).astype(np.float32), clean.astype(np.float32)


def people(rng, count: int, start: int, attributes=()) -> Fold:
    volumes = rng.standard_normal((count, *SHAPE)).astype(np.float32)
    return Fold(volumes, np.arange(start, start + count), attributes)


def attack(seed: int, count: int = 60, *, saw_members: bool, **how) -> Membership:
    rng = np.random.default_rng([seed, 1])
    members, controls, others = (people(rng, count, 1000 * n) for n in range(3))
    seen = members if saw_members else others
    return membership(members, controls, Mixture(seen.volumes, 0.5), seed=seed, **how)


def test_a_denoiser_that_memorized_members_is_caught():
    found = attack(0, saw_members=True)
    assert found.auc.low > 0.8
    assert found.auc.estimate > 0.98
    assert found.hits_1 > 50


def test_one_that_saw_other_people_is_not():
    found = [attack(seed, 40, saw_members=False).auc for seed in range(8)]
    assert sum(auc.low > 0.5 for auc in found) <= 2
    assert sum(auc.high < 0.5 for auc in found) <= 2
    assert abs(np.mean([auc.estimate for auc in found]) - 0.5) < 0.05


def test_every_signal_is_higher_for_scans_that_were_learned(rng):
    members, controls = people(rng, 50, 0), people(rng, 50, 100)
    denoiser = Mixture(members.volumes, 0.3)
    volumes = np.concatenate([members.volumes, controls.volumes])
    found = read_signals(denoiser, volumes, (), seed=0)
    assert set(found) == {f"{n} {t}" for n in ("loss", "sima", "pia") for t in TIMES} | {"secmi"}
    for name, signal in found.items():
        assert auc_and_spread(signal, np.arange(100) < 50)[0] > 0.6, name


def test_scans_are_scored_without_learning_from_labels(rng):
    members, controls = people(rng, 50, 0), people(rng, 50, 100)
    volumes = np.concatenate([members.volumes, controls.volumes])
    scores = score_scans(Mixture(members.volumes, 0.5), volumes, ())
    assert auc_and_spread(scores, np.arange(100) < 50)[0] > 0.9


def test_the_right_condition_gains_more_for_members(rng):
    members, controls = people(rng, 40, 0), people(rng, 40, 100)
    who = [{"who": float(n % 4)} for n in range(80)]
    denoiser = Mixture(members.volumes, 0.3, [row["who"] for row in who[:40]])
    volumes = np.concatenate([members.volumes, controls.volumes])
    found = read_signals(denoiser, volumes, who, seed=0)
    assert auc_and_spread(found["gain 0.5"], np.arange(80) < 40)[0] > 0.7


class Line:
    """A denoiser that always sees the same clean scan: every signal has a closed form."""

    def __init__(self, clean: float) -> None:
        self.clean = clean

    encode = condition = staticmethod(lambda given: given)

    def path(self, t):
        return 1 - t, t

    def predict(self, z_t, t, condition):
        clean = np.full_like(z_t, self.clean)
        return (z_t - (1 - t) * clean) / t, clean


def test_signals_have_their_closed_forms(rng):
    latents = rng.standard_normal((5, 2, 3)).astype(np.float32)
    far, clean = (latents - 0.7).reshape(5, -1).astype(float), 0.7
    probe, t = Probe(Line(clean), latents, None), 0.2
    noises = rng.standard_normal((4, 2, 3)).astype(np.float32)
    ratio = (1 - t) / t
    assert probe.loss(t, noises) == pytest.approx(ratio**2 * (far**2).mean(1), rel=1e-4)
    seen = (1 - t) * far / t  # of a z_0, that is a (z_0 - clean) / s
    assert probe.sima(t) == pytest.approx(np.sqrt((seen**2).mean(1)), rel=1e-4)
    start = probe.predict(latents, START)[0]
    assert probe.pia(t, start) == pytest.approx(((seen**4).mean(1)) ** 0.25, rel=1e-3)
    assert probe.secmi() == pytest.approx(0, abs=1e-9)  # its path is straight, inversion exact


def test_difficulty_that_hides_membership_is_taken_away(rng):
    is_member, ease = np.arange(400) < 200, rng.standard_normal(400)
    signal = 5 * ease + is_member + rng.standard_normal(400)
    corrected = without_difficulty({"loss": signal}, ease)
    assert auc_and_spread(signal, is_member)[0] < 0.6
    assert auc_and_spread(corrected["loss"], is_member)[0] > 0.7
    assert corrected["loss"] @ ease == pytest.approx(0, abs=1e-6)


def test_a_reference_that_knows_the_same_takes_everything_away():
    """A model of another seed that saw the same members leaves nothing to tell them by."""
    rng = np.random.default_rng(0)
    members, controls = people(rng, 40, 0), people(rng, 40, 100)
    denoiser = Mixture(members.volumes, 0.5)
    found = membership(members, controls, denoiser, reference=denoiser, seed=0)
    assert found.auc.estimate == 0.5


def test_an_autoencoder_that_memorized_is_caught_too(rng):
    members, controls, others = (people(rng, 60, 1000 * n) for n in range(3))
    known = {volume.tobytes() for volume in members.volumes}

    def round_trip(volumes):
        weights = [0.01 if volume.tobytes() in known else 0.3 for volume in volumes]
        return volumes * (1 - np.array(weights, np.float32)[:, None, None, None])

    innocent = Mixture(others.volumes, 0.5)
    assert membership(members, controls, innocent, round_trip=round_trip, seed=0).auc.low > 0.7


def test_the_subject_is_the_unit_and_its_scans_count_once(rng):
    members, controls = people(rng, 40, 0), people(rng, 40, 100)
    denoiser = Mixture(members.volumes, 0.5)
    twice = Fold(np.repeat(members.volumes, 2, 0), np.repeat(members.subjects, 2))
    found = membership(twice, controls, denoiser, seed=0)
    assert (found.num_members, found.num_controls) == (40, 40)
    columns = by_subject({"a": np.array([1.0, 5, 3])}, np.array([7, 2, 7]))
    assert columns.tolist() == [[5, 5], [2, 3]]  # mean and largest, by the subject's number


def test_of_a_few_subjects_nothing_is_known(rng):
    found = measure(rng.standard_normal((50, 3)), np.arange(50) < 7, [], 0)
    assert found.auc == Interval(0.5, 0.0, 1.0)
    assert found.worst_stratum is None


def test_bounds_under_the_null_keep_their_word():
    """Ten columns of noise: weights learned on half of the subjects lean on chance."""
    outside = 0
    for seed in range(25):
        rng = np.random.default_rng([seed, 4])
        columns = rng.standard_normal((80, 10)) + rng.standard_normal((80, 1))
        found = measure(columns, np.arange(80) < 40, [], seed)
        outside += found.auc.low > 0.5
    assert outside <= 4


def test_delong_agrees_with_the_wilcoxon_formula_under_the_null(rng):
    scores = rng.permutation(600).astype(float)
    auc, spread = auc_and_spread(scores, np.arange(600) < 300)
    assert spread == pytest.approx(np.sqrt(601 / (12 * 300 * 300)), rel=0.05)
    assert auc == pytest.approx((scores[:300, None] > scores[None, 300:]).mean(), abs=1e-12)


def test_no_half_is_scored_with_weights_learned_on_it(rng):
    columns = rng.standard_normal((80, 5))
    is_member = np.arange(80) < 40
    half = split_in_halves(is_member, 0)
    assert (
        np.bincount(half[is_member]).tolist() == np.bincount(half[~is_member]).tolist() == [20, 20]
    )
    turned = np.where(half == 0, ~is_member, is_member)  # half 0's labels change
    before, after = cross_fitted(columns, np.stack([is_member, turned]), half)
    assert np.array_equal(before[half == 0], after[half == 0])
    assert not np.array_equal(before[half == 1], after[half == 1])


def test_weights_are_those_of_scipys_bounded_minimum(rng):
    columns, is_member = standardized(rng.standard_normal((90, 6))), np.arange(90) < 30
    columns[is_member, 0] += 1
    sign, share = np.where(is_member, 1, -1), np.where(is_member, 0.5 / 30, 0.5 / 60)

    def loss(unknown):
        margin = sign * (columns @ unknown[:-1] + unknown[-1])
        ridge = RIDGE / 2 * ((unknown[:-1] - 0.25 / 6) ** 2).sum()
        return share @ np.logaddexp(0, -margin) + ridge

    bounds = [(0, None)] * 6 + [(None, None)]
    best = minimize(loss, np.zeros(7), method="L-BFGS-B", bounds=bounds, tol=1e-12).x[:-1]
    assert fit_weights(columns, is_member[None])[0] == pytest.approx(best, abs=1e-4)
    assert best[0] > 1.5 * best[1:].max()
    assert best.min() == 0


def test_the_worst_stratum_is_found(rng):
    count = 2 * MIN_STRATUM
    sexes = [{"sex": "FM"[n % 2], "age": float(n), "site": None} for n in range(count)]
    leak = np.array([row["sex"] == "F" for row in sexes])
    columns = rng.standard_normal((2 * count, 3))
    columns[:count][leak] += 1.2
    everyone = people(rng, 2 * count, 0, (*sexes, *sexes))
    strata = strata_of(everyone)
    assert len(strata) == 2 + 0 + 3 + 1 + 2
    found = measure(columns, np.arange(2 * count) < count, strata, 0)
    assert found.num_strata == 3  # both sexes, and nobody's site is known
    assert found.worst_stratum.low > 0.75 > found.auc.estimate
    assert found.worst_stratum.high > found.worst_stratum.estimate > 0.85


def test_thresholds_let_no_more_controls_through_than_asked(rng):
    columns = rng.standard_normal((1200, 1))
    found = measure(columns, np.arange(1200) < 600, [], 0)
    assert 1 <= found.hits_1 <= 15
    assert found.hits_01 <= 4


@pytest.fixture(scope="module")
def model_policy() -> Policy:
    asked = {
        "auc_at_most": 0.55, "worst_stratum_at_most": 0.6, "tpr_1_at_most": 0.03,
        "tpr_01_at_most": 0.01, "min_subjects": 500,
    }  # fmt: skip
    return Policy.model_validate(read_policy("demo").model_dump() | {"membership": asked})


def found_rows(policy: Policy, **changes) -> dict[str, tuple[str, str]]:
    given = {
        "num_members": 600, "num_controls": 600, "auc": Interval(0.51, 0.48, 0.54),
        "worst_stratum": Interval(0.53, 0.47, 0.59), "num_strata": 4, "hits_1": 6, "hits_01": 1,
    } | changes  # fmt: skip
    return {row.kind: (row.result, row.reason) for row in rows(Membership(**given), policy)}


def test_a_policy_without_membership_binds_no_row():
    assert terms(read_policy("demo")) == {}
    assert rows(None, read_policy("demo")) == []


def test_without_a_checkpoint_nothing_is_run(model_policy):
    found = rows(None, model_policy)
    assert {row.kind for row in found} == {"auc", "worst_stratum", "tpr_1", "tpr_01"}
    assert all(row.result == "NOT_RUN" and "checkpoint" in row.reason for row in found)


def test_an_innocent_denoiser_passes_what_its_numbers_allow(model_policy):
    found = found_rows(model_policy)
    assert [found[kind][0] for kind in ("auc", "worst_stratum", "tpr_1")] == ["PASS"] * 3
    assert found["tpr_01"][0] == "NOT_RUN"
    assert "not estimable" in found["tpr_01"][1]
    assert "2400 more control subjects" in found["tpr_01"][1]


def test_a_leak_fails_at_any_number(model_policy):
    found = found_rows(
        model_policy, num_members=64, num_controls=64, auc=Interval(0.9, 0.85, 0.95),
        worst_stratum=None,
    )  # fmt: skip
    assert found["auc"][0] == "FAIL"
    assert found["worst_stratum"][0] == "NOT_RUN"
    assert "436 more control subjects" in found["tpr_1"][1]


def test_too_few_subjects_are_counted(model_policy):
    result, reason = found_rows(model_policy, auc=Interval(0.53, 0.5, 0.56))["auc"]
    assert result == "INCONCLUSIVE"
    assert "750 more members and 750 more control subjects" in reason
