from dataclasses import replace

import numpy as np
import pytest

from medsynth.core.schema import Attribute, AttributeSchema
from privacy.attacks.attributes.cells import Grid, company, quantile_grid
from privacy.attacks.attributes.disclosure import disclose
from privacy.attacks.attributes.image_to_attribute import Read, read_attributes
from privacy.attacks.attributes.inference import Inferred, infer
from privacy.attacks.attributes.isolation import isolated
from privacy.attacks.attributes.risk import Share, Tries, share_by_subject
from privacy.attacks.attributes.singling_out import singling_out
from privacy.attacks.attributes.table import MISSING, make_tables
from privacy.evidence import residual_excess
from privacy.folds import Fold
from privacy.gates.attributes import rows, terms
from privacy.policy import Policy
from privacy.terms import AttributeTerms

SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years"),
        Attribute("sex", "category", values=("F", "M")),
        Attribute("stage", "ordinal", values=("low", "middle", "high")),
        Attribute("finding", "labels"),
        Attribute("lesion", "continuous", scale="log"),
    )
)
BASIS = np.random.default_rng(5).normal(size=(16, 144)) * np.linspace(1, 0.2, 16)[:, None]


def draw_row(rng, z):
    found = [
        word for word, has in zip("ABC", z[4:7] + rng.normal(size=3) > 0.8, strict=True) if has
    ]
    return {
        "age": float(np.round(60 + 12 * z[0] + 4 * rng.normal())),
        "sex": None if rng.random() < 0.05 else "FM"[int(z[1] + rng.normal() > 0)],
        "stage": ("low", "middle", "high")[int(np.digitize(z[2], [-0.5, 0.5]))],
        "finding": "|".join(found) or "none",
        "lesion": None if rng.random() < 0.1 else float(np.exp(5 + z[3])),
    }


def draw_people(count, seed):
    """People whose images show some of their attributes; independent of everybody else."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 16))
    pixels = 0.5 + 0.05 * z @ BASIS + 0.02 * rng.normal(size=(count, 144))
    volumes = pixels.reshape(count, 12, 12, 1).astype(np.float32)
    return Fold(volumes, np.arange(count), tuple(draw_row(rng, row) for row in z))


def head(fold, count):
    return Fold(fold.volumes[:count], fold.subjects[:count], fold.attributes[:count])


def jitter(fold, size):
    noise = np.random.default_rng(0).normal(size=fold.volumes.shape).astype(np.float32)
    return replace(fold, volumes=fold.volumes + np.float32(size) * noise)


@pytest.fixture(scope="module")
def members():
    return draw_people(400, 1)


@pytest.fixture(scope="module")
def controls():
    return draw_people(250, 2)


def attack(cohort, members, controls, seed=0, **given):
    given = {"k": 11, "num_tries": 1000, "seed": seed} | given
    return disclose(cohort, members, controls, SCHEMA, **given)


@pytest.fixture(scope="module")
def copied(members, controls):
    return attack(members, members, controls)


@pytest.fixture(scope="module")
def innocent(members, controls):
    return [attack(draw_people(300, 10 + s), members, controls, s) for s in range(4)]


@pytest.fixture
def asking(policy):
    asked = AttributeTerms(risk_at_most=0.09, gap_at_most=0.1, min_attacks=1000)
    return policy.model_copy(update={"attributes": asked})


# Planted leaks and innocent cohorts.


def test_verbatim_copies_single_members_out(copied):
    for tries in copied.singling_out:
        assert tries.num_tries == 1000
        assert tries.members.value > 0.985
        assert tries.risk().estimate > 0.98
        assert tries.risk().low > 0.09


def test_verbatim_copies_tell_every_attribute(copied):
    found = copied.inference
    assert found.pooled.members.value > 0.985
    assert found.pooled.risk().low > 0.95
    assert all(tries.risk().low > 0.9 for tries in found.by_secret)
    assert copied.images.pooled.gap().low > 0.1


def test_near_copies_are_caught_by_neighborhoods_and_inference(members, controls):
    found = attack(jitter(members, 0.02), members, controls)
    neighborhood = next(t for t in found.singling_out if t.name == "neighborhood")
    assert neighborhood.risk().low > 0.09
    assert found.inference.pooled.risk().low > 0.5


def test_a_third_of_copies_is_enough(members, controls):
    fresh = draw_people(200, 30)
    mixed = Fold(
        np.concatenate([members.volumes[:100], fresh.volumes]),
        np.arange(300),
        members.attributes[:100] + fresh.attributes,
    )
    found = attack(mixed, members, controls)
    assert max(tries.risk().low for tries in found.singling_out) > 0.09
    assert found.inference.pooled.risk().low > 0.05


def test_independent_cohorts_give_nobody_away(innocent):
    risks = [tries.risk() for found in innocent for tries in found.singling_out]
    risks += [found.inference.pooled.risk() for found in innocent]
    assert all(abs(risk.estimate) < 0.07 for risk in risks)
    assert all(risk.low < 0.02 for risk in risks)
    assert np.mean([risk.high <= 0.09 for risk in risks]) > 0.8
    assert all(found.images.pooled.gap().low < 0.02 for found in innocent)


def test_bounds_cover_zero_for_independent_cohorts():
    """Tries at one subject belong together; counted one by one they exclude zero too often."""
    outside = 0
    for seed in range(20):
        groups = [draw_people(n, 100 * seed + n) for n in (150, 160, 90)]
        tables = make_tables(SCHEMA, groups)
        found = [*singling_out(*tables, 300, seed), infer(*tables, 300, seed).pooled]
        outside += sum(not t.risk().low <= 0 <= t.risk().high for t in found)
    assert outside <= 12  # 80 intervals, 10 % of them allowed: at most 12 with probability .95


def test_one_leaky_attribute_is_not_diluted(members, controls):
    """Only one's own words at random, but for the finding, which the image of a copy tells."""
    shuffled = np.random.default_rng(0).permutation(400)
    kept = tuple(
        draw | {"finding": own["finding"]}
        for own, draw in zip(
            members.attributes, (members.attributes[i] for i in shuffled), strict=True
        )
    )
    tables = make_tables(SCHEMA, [replace(members, attributes=kept), members, controls])
    tries, risk = infer(*tables, 1000, 0).worst
    assert tries.name == "finding"
    assert risk.low > 0.09


def test_a_reader_with_copies_reads_members_better(members, controls):
    folds = (members, members, controls)
    found = read_attributes(folds, make_tables(SCHEMA, folds))
    assert found.pooled.gap().low > 0.05
    assert "finding 1" in {read.tries.name for read in found.by_attribute}


# Known answers.


def test_isolation_is_the_mean_over_all_draws():
    fits = np.array([[True, False, False, False], [True, True, False, False]])
    # One of two drawn of four: 1/2 for one who fits, 2 * 2 / 6 for two.
    assert isolated(fits, 2).value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert isolated(fits, 4).value == pytest.approx(1 / 2)


def test_isolation_leaves_out_one_subject_at_a_time():
    fits = np.random.default_rng(0).random((40, 12)) < 0.15
    rate = [(np.delete(fits, i, axis=1).sum(1) == 1).mean() for i in range(12)]
    value = (fits.sum(1) == 1).mean()
    variance = 11 * np.var(rate) + value * (1 - value) / 40
    assert isolated(fits, 12).weight == pytest.approx(value * (1 - value) / variance)


def test_isolation_among_more_people_than_there_are_is_extrapolated():
    rng, w = np.random.default_rng(0), 1 / 300
    found = isolated(rng.random((4000, 200)) < w, 500)
    assert found.value == pytest.approx(500 * w * (1 - w) ** 499, abs=0.04)


def test_shares_of_single_tries_are_those_of_the_binomial():
    hits = (np.arange(200) < 40).astype(float)
    share = share_by_subject(hits, np.ones(200))
    assert share.value == pytest.approx(0.2)
    assert share.weight == pytest.approx(199, rel=0.01)
    again = share_by_subject(10 * hits, np.full(200, 10.0))
    assert again.weight == pytest.approx(share.weight)


def test_nothing_found_weighs_as_many_subjects_as_there_are():
    assert share_by_subject(np.zeros(50), np.full(50, 20.0)) == Share(0.0, 50.0)


def test_the_risk_agrees_with_the_residual_excess_of_other_gates():
    ours = Tries("x", 500, Share(0.3, 500.0), Share(0.1, 400.0)).risk()
    other = residual_excess((150, 500), (40, 400))
    assert ours.estimate == pytest.approx(other.estimate)
    assert (ours.low, ours.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_more_looks_only_lower_the_low_bound():
    tries = Tries("x", 500, Share(0.3, 500.0), Share(0.1, 400.0))
    assert tries.risk(5).low < tries.risk().low
    assert tries.risk(5).high == tries.risk().high


def test_the_gap_is_corrected_for_chance():
    read = Read(Tries("x", 300, Share(0.8, 300.0), Share(0.7, 300.0)), chance=0.5)
    assert read.gap().estimate == pytest.approx(0.2)
    assert read.gap().low < 0.2 < read.gap().high


def test_tables_code_every_kind_and_keep_missing_apart():
    given = [
        {"age": 50.0, "sex": "M", "stage": "high", "finding": "A|B", "lesion": np.e - 1},
        {"age": None, "sex": None, "stage": None, "finding": None, "lesion": None},
    ]
    fold = Fold(np.random.default_rng(0).random((2, 8, 8, 1), np.float32), np.arange(2), (*given,))
    age, sex, stage, finding, lesion = make_tables(SCHEMA, [fold, fold])[0].columns[:5]
    assert [c.values[0] for c in (age, sex, stage, lesion)] == [50.0, 0.0, 2.0, pytest.approx(1.0)]
    assert all(c.values[1] == MISSING for c in (age, sex, stage, finding, lesion))
    assert finding.flags.tolist() == [[True, True], [False, False]]


def test_components_are_fitted_on_synthetic_scans_alone(members, controls):
    cohort = draw_people(60, 7)
    one, other = (make_tables(SCHEMA, [cohort, members, c])[0] for c in (controls, members))
    np.testing.assert_array_equal(one.matrix[:, 5:], other.matrix[:, 5:])
    np.testing.assert_allclose(one.matrix[:, 5:].std(0), 1, atol=1e-5)


def test_scans_of_one_subject_count_once(members, controls):
    twice = Fold(
        np.repeat(members.volumes, 2, axis=0),
        np.repeat(members.subjects, 2),
        tuple(row for row in members.attributes for _ in range(2)),
    )
    once, doubled = (attack(members, group, controls) for group in (members, twice))
    assert [t.members for t in once.singling_out] == [t.members for t in doubled.singling_out]
    one, other = (found.inference.pooled.members for found in (once, doubled))
    assert other.value == pytest.approx(one.value, abs=0.01)
    assert other.weight < 1.1 * one.weight


def test_a_seed_gives_one_result(members, controls):
    cohort = draw_people(100, 3)
    assert attack(cohort, members, controls) == attack(cohort, members, controls)


# Company of the vectors asked for.

TRAIN = Fold(
    np.zeros((30, 1, 1, 1), np.float32),
    np.arange(30),
    tuple({"age": 40.0 + i, "sex": "FM"[i % 2] if i < 29 else "X"} for i in range(30)),
)
GRID = Grid(("age", "sex"), {"age": (55.0,)})


def test_exported_vectors_are_counted_by_subject():
    found = company([{"age": 41.0, "sex": "M"}], TRAIN, [GRID], k=11)
    assert (found.fewest_subjects, found.num_lonely) == (7, 1)
    assert company([{"age": 41.0, "sex": "M"}], TRAIN, [GRID], k=7).num_lonely == 0
    alone = company([{"age": 69.0, "sex": "X"}], TRAIN, [GRID], k=2)
    assert (alone.fewest_subjects, alone.num_lonely) == (1, 1)


def test_two_scans_of_a_subject_are_no_company():
    twice = replace(TRAIN, subjects=np.arange(30) // 2 * 2)
    coarse = Grid(("age",), {"age": (55.0,)})
    assert company([{"age": 41.0}], twice, [coarse], k=2).fewest_subjects == 8


def test_cells_of_nobody_concern_nobody():
    found = company([{"age": 41.0, "sex": "X"}], TRAIN, [GRID], k=11)
    assert (found.fewest_subjects, found.num_lonely) == (11, 0)


def test_a_cell_that_tells_another_attribute_is_not_diverse():
    told = replace(TRAIN, attributes=tuple({"age": 41.0, "sex": "F"} for _ in range(30)))
    found = company([{"age": 41.0, "sex": "F"}], told, [GRID], k=11)
    assert (found.fewest_values, found.num_alike) == (1, 1)
    assert company([{"age": 41.0, "sex": "F"}], TRAIN, [GRID], k=1).fewest_values == 2


def test_quantile_bins_hold_equally_many():
    schema = AttributeSchema((Attribute("age", "continuous"), Attribute("sex", "category")))
    grid = quantile_grid(schema, TRAIN.attributes, 3)
    assert np.bincount([grid.bin("age", 40.0 + i) for i in range(30)]).tolist() == [10, 10, 10]
    assert grid.bin("age", None) is None


# Gates.


def test_a_policy_without_the_section_asks_for_nothing(policy, copied):
    assert terms(policy) == {}
    assert rows(copied, policy) == rows(None, policy) == []


def test_copies_fail_every_gate_of_attributes(asking, members, controls):
    grid = quantile_grid(SCHEMA, members.attributes, 2)
    found = attack(members, members, controls, grids=[grid])
    judged = rows(found, asking)
    assert [row.result for row in judged] == ["FAIL"] * 4
    assert [(row.gate, row.kind) for row in judged] == list(terms(asking))
    assert judged[-1].estimate == 0.0  # fewer than k are never told apart


def test_independent_cohorts_pass(asking, innocent):
    results = [row.result for found in innocent for row in rows(found, asking)[:3]]
    assert "FAIL" not in results
    assert results.count("PASS") >= 9


def test_the_worst_of_many_speaks_where_it_surely_fails(asking, innocent):
    """Pooled with three harmless secrets, a secret that every member gives away would hide."""
    controls = Share(0.4, 400.0)
    quiet = Tries("a", 1200, Share(0.4, 400.0), controls)
    told = Tries("b", 1200, Share(1.0, 400.0), controls)
    pooled = Tries("all", 4800, Share(0.42, 1600.0), Share(0.4, 1600.0))
    row = rows(replace(innocent[0], inference=Inferred(pooled, (quiet, told))), asking)[1]
    assert row.result == "FAIL"
    assert "guessing b " in row.reason
    row = rows(replace(innocent[0], inference=Inferred(pooled, (quiet, quiet))), asking)[1]
    assert row.result == "PASS"


def test_the_loosest_description_speaks_for_all(asking, innocent):
    tight = Tries("univariate", 1000, Share(0.1, 900.0), Share(0.1, 900.0))
    loose = Tries("multivariate", 1000, Share(0.4, 900.0), Share(0.2, 900.0))
    for both in ((tight, loose), (loose, tight)):
        row = rows(replace(innocent[0], singling_out=both), asking)[0]
        assert row.result == "FAIL"
        assert "multivariate" in row.reason


def test_what_is_missing_is_said(asking, innocent):
    strict = AttributeTerms(risk_at_most=0.02, gap_at_most=0.02, min_attacks=1000)
    judged = rows(innocent[0], asking.model_copy(update={"attributes": strict}))
    assert judged[1].result == "INCONCLUSIVE"
    assert "more control subjects" in judged[1].reason or "alone will not help" in judged[1].reason
    greedy = AttributeTerms(risk_at_most=0.09, gap_at_most=0.1, min_attacks=10**6)
    judged = rows(innocent[0], asking.model_copy(update={"attributes": greedy}))
    assert "hand in a larger cohort" in judged[0].reason


def test_nothing_handed_in_is_not_run(asking, innocent):
    assert {row.result for row in rows(None, asking)} == {"NOT_RUN"}
    last = rows(innocent[0], asking)[-1]
    assert (last.kind, last.result) == ("cells", "NOT_RUN")
    assert "cells" in last.reason


def test_a_cohort_without_attributes_is_attacked_by_its_images_alone(asking, members, controls):
    bare = [replace(fold, attributes=()) for fold in (draw_people(300, 4), members, controls)]
    found = disclose(*bare, AttributeSchema(), k=11, num_tries=1000, seed=0)
    assert [row.result for row in rows(found, asking)][1:3] == ["NOT_RUN", "NOT_RUN"]
    assert found.singling_out


def test_crowded_cells_pass(asking: Policy, innocent):
    crowd = company([{"age": 41.0}] * 5, TRAIN, [Grid(("age",), {"age": (55.0,)})], k=11)
    row = rows(replace(innocent[0], company=crowd), asking)[-1]
    assert (row.result, row.estimate, row.n) == ("PASS", 15.0, 5)
