from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, mannwhitneyu, norm

from privacy.attacks.copying import copying
from privacy.attacks.copying_cells import c_t_of_members, joint_p
from privacy.attacks.copying_features import (
    Features,
    apart_from_own,
    by_subject,
    copying_features,
    distances,
)
from privacy.attacks.duplicates import duplicates
from privacy.folds import Fold

DIM, RIDGE = 24, 0.1
NUM_MEMBERS, NUM_CONTROLS, NUM_SYNTHETIC = 160, 90, 200


def unit(points):
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def moments(points):
    return unit(points).T @ unit(points)


def root(moments, n):
    values, vectors = np.linalg.eigh(moments / n + RIDGE / DIM * np.eye(DIM))
    return vectors / np.sqrt(values)


def features(points, whitening, n=0, subjects=None):
    """Of points that are among the `n` fitted ones, or of fresh ones."""
    whitened = unit(points) @ whitening
    leverages = (whitened**2).sum(1) / n if n else np.zeros(len(points))
    owners = np.arange(len(points)) if subjects is None else subjects
    vectors = unit(whitened).astype(np.float32)
    return Features((vectors,), (leverages.astype(np.float32),), owners)


def draw(rng, count, scale=1.0):
    return rng.standard_normal((count, DIM)) * np.linspace(0.3, 1, DIM) * scale


def attacked(rng, make, seed=0):
    """Copying of the cohort that `make(members, controls, fresh)` gives."""
    members, controls = draw(rng, NUM_MEMBERS), draw(rng, NUM_CONTROLS)
    fitted = np.concatenate([members, controls])
    whitening = root(moments(fitted), len(fitted))
    numbers = np.arange(len(fitted))
    cohort = make(members, controls, draw(rng, NUM_SYNTHETIC))
    return copying(
        features(cohort, whitening),
        features(members, whitening, len(fitted), numbers[:NUM_MEMBERS]),
        features(controls, whitening, len(fitted), numbers[NUM_MEMBERS:]),
        seed,
    )


def with_copies(rng, share):
    def make(members, controls, fresh):
        num = round(share * len(fresh))
        copied = members[rng.permutation(len(members))[:num]]
        jitter = 0.03 * rng.standard_normal((num, DIM))
        return np.concatenate([copied + jitter, fresh[num:]])

    return make


def innocent(members, controls, fresh):
    return fresh


def timid(members, controls, fresh):
    """Fresh scans of too little variety, which lie near everybody."""
    return fresh * np.linspace(1, 0, DIM) + 0.5 * controls.std(0)


def test_leaving_a_pair_out_equals_a_whitening_fitted_without_it(rng):
    points = draw(rng, 60)
    n, without = len(points), root(moments(points) - moments(points[:2]), len(points))
    fitted = features(points, root(moments(points), n), n)
    expected = features(points[:2], without)
    known = np.sqrt(2 - 2 * expected.parts[0][0] @ expected.parts[0][1])
    assert distances(fitted, fitted)[0, 1] == pytest.approx(known, abs=1e-4)


@pytest.fixture(scope="module")
def split_phantoms(phantoms):
    """Members, controls and fresh phantoms as features, split anew three times."""
    drawn, numbers = phantoms(300, seed=9), np.arange(300)
    orders = [np.random.default_rng(seed).permutation(300) for seed in range(3)]
    folds = [Fold(drawn[order], numbers) for order in orders]
    return [
        copying_features(f.volumes[180:], *(Fold(f.volumes[r], numbers[r]) for r in (M, C)))
        for f in folds
    ]


M, C = slice(0, 100), slice(100, 180)


def nearer(cohort, members, controls):
    """P[a control is nearer to some member than a fresh phantom is]."""
    lengths = [distances(group, members).min(1) for group in (controls, cohort)]
    return mannwhitneyu(*lengths).statistic / len(lengths[0]) / len(lengths[1])


def test_fitted_controls_and_fresh_phantoms_are_equally_near_to_members(split_phantoms):
    assert np.mean([nearer(*groups) for groups in split_phantoms]) == pytest.approx(0.5, abs=0.06)
    forgotten = [
        [replace(g, leverages=tuple(0 * h for h in g.leverages)) for g in groups]
        for groups in split_phantoms
    ]
    assert np.mean([nearer(*groups) for groups in forgotten]) > 0.6


def test_fresh_phantoms_are_not_accused(split_phantoms):
    found = [copying(*groups, seed=0) for groups in split_phantoms]
    assert sum(f.p_value <= 0.05 for f in found) <= 1
    assert sum(f.authenticity.high < 0 for f in found) <= 1
    assert all(f.ratio_excess.low <= 0 and f.duplicate_excess.low <= 0 for f in found)


def test_copies_of_phantoms_are_noticed(phantoms, rng):
    drawn, numbers = phantoms(300, seed=10), np.arange(300)
    jitter = 0.02 * rng.standard_normal(drawn[:20].shape)
    cohort = np.concatenate([drawn[:20] + jitter, drawn[180:]]).astype(np.float32)
    members, controls = (Fold(drawn[r], numbers[r]) for r in (M, C))
    found = copying(*copying_features(cohort, members, controls), seed=0)
    assert found.ratio_excess.low > 0.05
    assert found.authenticity.high < -0.02


def test_members_copied_once_in_ten_scans_are_noticed(rng):
    found = attacked(rng, with_copies(rng, 0.1))
    assert found.near[0] >= 18
    assert found.ratio_excess.low > 0.02
    assert found.authenticity.high < 0


def test_members_copied_throughout_are_noticed_by_every_question(rng):
    found = attacked(rng, with_copies(rng, 0.8))
    assert found.p_value < 0.005
    assert found.authenticity.high < -0.5
    assert found.ratio_excess.low > 0.6


def test_weak_likeness_to_members_moves_c_t(rng):
    def make(members, controls, fresh):
        return fresh + 0.8 * members[rng.integers(0, len(members), len(fresh))]

    found = attacked(rng, make)
    assert found.p_value < 0.01
    assert found.near[0] < 5


def test_copies_of_controls_do_not_accuse(rng):
    found = attacked(rng, lambda members, controls, fresh: np.tile(controls, (2, 1)))
    assert found.p_value > 0.5
    assert found.near[0] == 0
    assert found.authenticity.low > 0


@pytest.mark.parametrize("make", [innocent, timid])
def test_innocent_cohorts_are_not_accused(make):
    rng = np.random.default_rng(5)
    found = [attacked(rng, make, seed) for seed in range(16)]
    p_values = [f.p_value for f in found]
    assert kstest(p_values, "uniform", alternative="greater").pvalue > 0.01
    assert sum(f.authenticity.high < 0 for f in found) <= 4
    assert sum(f.authenticity.low > 0 for f in found) <= 4
    assert all(f.ratio_excess.low <= 0 for f in found)


def test_every_cell_counts_with_its_weight_as_mann_whitney_says(rng):
    lengths = rng.integers(0, 9, 80).astype(float)
    is_member, cells = rng.random(80) < 0.6, rng.integers(0, 2, 80)
    expected = 0.0
    for cell in (0, 1):
        of_cell = lengths[(cells == cell)], is_member[cells == cell]
        u = mannwhitneyu(of_cell[0][of_cell[1]], of_cell[0][~of_cell[1]], use_continuity=False)
        num, others = of_cell[1].sum(), (~of_cell[1]).sum()
        z = np.sign(u.statistic - num * others / 2) * norm.isf(u.pvalue / 2)
        expected += z * (num + others) / 80
    assert c_t_of_members(lengths, is_member[None], cells)[0] == pytest.approx(expected)


def test_one_answer_far_off_is_enough(rng):
    answers = rng.standard_normal((6, 1001))
    answers[2, 0] = -6
    assert joint_p(answers) == pytest.approx(1 / 1001)
    answers[2, 0] = 6
    assert joint_p(answers) > 0.05


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_scans_and_exact_copies_do_not_break_it(count):
    vectors = np.eye(DIM, dtype=np.float32)[:count]
    same = Features((vectors,), (np.zeros(count, np.float32),), np.arange(count))
    others = Features(same.parts, same.leverages, np.arange(count) + count)
    found = copying(same, same, others, seed=0)
    assert found.p_value == 1.0
    assert found.authenticity.estimate == 0


def test_two_scans_of_one_member_are_one_neighbor(rng):
    found = np.array([[1.0, 1.1, 9.0]])
    assert by_subject(found, np.array([4, 4, 2])).tolist() == [[9.0, 1.0]]
    twins = features(np.repeat(draw(rng, 3), 2, 0), np.eye(DIM), subjects=np.repeat([0, 1, 2], 2))
    assert apart_from_own(twins).min() > 0.1


def test_a_cohort_that_repeats_itself_is_noticed(rng):
    sets = [features(draw(rng, n), np.eye(DIM)) for n in (NUM_MEMBERS, NUM_CONTROLS)]
    fresh = draw(rng, NUM_SYNTHETIC)
    repeated = np.concatenate([fresh[:-20], fresh[:20] + 0.01])
    (hits, num), (own, num_controls) = duplicates(features(repeated, np.eye(DIM)), *sets, rng)
    assert (hits, num, own, num_controls) == (40, NUM_SYNTHETIC, 0, NUM_CONTROLS)
    (hits, _), _ = duplicates(features(fresh, np.eye(DIM)), *sets, rng)
    assert hits == 0


def test_a_cohort_larger_than_all_real_people_is_compared_with_as_many(rng):
    few = [features(draw(rng, n), np.eye(DIM)) for n in (20, 10)]
    pairs = np.repeat(draw(rng, 300), 2, 0)
    (hits, num), _ = duplicates(features(pairs, np.eye(DIM)), *few, rng)
    assert num == 600
    assert 10 <= hits <= 60


def test_a_seed_gives_one_result():
    one, other = (attacked(np.random.default_rng(1), innocent, seed=4) for _ in range(2))
    assert one == other
