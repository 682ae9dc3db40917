import numpy as np
import pytest

from privacy.attacks.extraction import (
    CLIQUE,
    GUIDANCES,
    Extraction,
    clique_radius,
    condition_pull,
    extraction,
)
from privacy.attacks.extraction_cliques import clique_size, nearest, tile_distances
from privacy.attacks.extraction_targets import NUM_RARE, pick_targets, places_of
from privacy.folds import Fold, RealFolds
from privacy.gates.extraction import rows, terms
from privacy.policy import Policy, read_policy

SHAPE = (9, 7, 1)


def people(rng, count: int, start: int) -> Fold:
    volumes = rng.random((count, *SHAPE)).astype(np.float32)
    attributes = tuple({"age": 20.0 + (start + n) % 60, "sex": "FM"[n % 2]} for n in range(count))
    return Fold(volumes, np.arange(start, start + count), attributes)


@pytest.fixture
def real(rng) -> RealFolds:
    return RealFolds(people(rng, 70, 0), people(rng, 40, 100), people(rng, 10, 200))


def close_to(real: RealFolds):
    """A screen that knows a scan up to a little noise."""

    def is_hit(draws, subject):
        scans = real.train.volumes[real.train.subjects == subject]
        return nearest(tile_distances(draws, scans)) < 0.1

    return is_hit


def fresh(requests, guidance, seed):
    return np.random.default_rng(seed).random((len(requests), *SHAPE), np.float32)


def copies_at(guidance_of_copies: float, real: RealFolds):
    """A sampler that gives the members of the age and sex asked for, at one guidance alone."""

    def draw(requests, guidance, seed):
        volumes = fresh(requests, guidance, seed)
        if guidance == guidance_of_copies:
            places = [real.train.attributes.index(request) for request in requests]
            noise = 0.01 * np.random.default_rng(seed).standard_normal(volumes.shape)
            volumes = (real.train.volumes[places] + noise).astype(np.float32)
        return volumes

    return draw


def test_a_sampler_that_brings_members_back_is_caught(real):
    found = extraction(real, copies_at(3.0, real), close_to(real), num_draws=CLIQUE, seed=0)
    assert found.num_targets == 64
    assert found.draws == 64 * len(GUIDANCES) * CLIQUE
    assert found.hits >= 54 * CLIQUE  # ten of the seventy share age and sex with another
    assert found.targets_hit >= 54
    assert found.cliques == 64
    assert found.bound.low > 0.1


def test_a_sampler_of_fresh_scans_is_not(real):
    for seed in range(3):
        found = extraction(real, fresh, close_to(real), num_draws=12, seed=seed)
        assert (found.hits, found.targets_hit, found.cliques) == (0, 0, 0)
        assert found.bound.high == pytest.approx(3 / found.draws, rel=0.01)
        assert found.striking is None


def test_hits_count_against_the_target_alone(real):
    """Scans of another member are no extraction of the target."""
    other = real.train.volumes[[5]]

    def draw(requests, guidance, seed):
        return np.repeat(other, len(requests), 0)

    found = extraction(real, draw, close_to(real), num_draws=2, seed=0)
    assert found.hits in (0, 2 * len(GUIDANCES))
    assert found.cliques == 0  # eight draws are too few


def test_every_draw_has_a_seed_of_its_own(real):
    seen = []

    def draw(requests, guidance, seed):
        seen.append((guidance, seed))
        return fresh(requests, guidance, seed)

    extraction(real, draw, close_to(real), num_draws=1, seed=0)
    assert len({seed for _, seed in seen}) == len(seen) == 64 * len(GUIDANCES)
    assert [guidance for guidance, _ in seen[:4]] == list(GUIDANCES)


def test_targets_are_the_rare_the_alike_and_others_once_each(rng):
    fold = people(rng, 200, 0)
    rows = [{"age": 50.0 + n % 3, "sex": "F"} for n in range(200)]
    for n in range(NUM_RARE):
        rows[n] = {"age": 90.0 + 7 * n, "sex": "M" if n else None}
    volumes = fold.volumes.copy()
    volumes[100:116:2] = volumes[101:117:2] + 0.001
    targets = pick_targets(Fold(volumes, fold.subjects, tuple(rows)), seed=0)
    assert len(set(targets.tolist())) == 64
    assert set(targets[:32].tolist()) == set(range(32))
    assert set(targets[32:48].tolist()) == set(range(100, 116))


def test_without_attributes_there_are_targets_too(rng):
    fold = people(rng, 30, 0)
    assert len(set(pick_targets(Fold(fold.volumes, fold.subjects), seed=0).tolist())) == 30


def test_a_subject_is_a_target_once(rng):
    fold = people(rng, 40, 0)
    twice = Fold(np.repeat(fold.volumes, 2, 0), np.repeat(fold.subjects, 2), fold.attributes * 2)
    targets = pick_targets(twice, seed=0)
    assert len(np.unique(twice.subjects[targets])) == len(targets) == 40


def test_attributes_are_points_with_an_axis_for_what_is_missing():
    places = places_of([{"age": 20.0, "sex": "F"}, {"age": None, "sex": "M"}, {"age": 40.0}])
    assert places.shape == (3, 1 + 1 + 1 + 2)
    assert np.allclose(places[:, 1], [-1, 0, 1])  # age in sds; its missing flag stands before
    assert np.allclose(places[:, 0], [0, 1, 0])


def test_tile_distances_are_the_worst_tile(rng):
    one, other = rng.random((2, 3, 9, 6, 5)).astype(np.float32)
    found = tile_distances(one, other)
    cuts = [np.linspace(0, n, 5).astype(int) for n in (9, 6, 5)]
    tiles = [
        np.sqrt(((one[1] - other[2])[a:b, c:d, e:f] ** 2).mean())
        for a, b in zip(cuts[0], cuts[0][1:], strict=False)
        for c, d in zip(cuts[1], cuts[1][1:], strict=False)
        for e, f in zip(cuts[2], cuts[2][1:], strict=False)
    ]
    assert found[1, 2] == pytest.approx(max(tiles), rel=1e-6)


def test_a_common_background_makes_nobody_alike():
    dark = np.zeros((2, 16, 16, 1), np.float32)
    dark[0, 5:7, 5:7] = 1
    assert tile_distances(dark[:1], dark[1:])[0, 0] == pytest.approx(0.5)


def test_planted_cliques_are_measured(rng):
    close = rng.random((60, 60)) < 0.2
    close = close | close.T
    members = rng.permutation(60)[:14]
    close[np.ix_(members, members)] = True
    assert clique_size(close) >= 14
    assert clique_size(np.eye(5, dtype=bool)) == 1
    assert clique_size(np.zeros((0, 0), bool)) == 0


def test_the_radius_is_that_of_people_who_are_different(real):
    radius = clique_radius(real, None)
    everyone = np.concatenate([real.control.volumes, real.train.volumes])
    apart = tile_distances(real.control.volumes, everyone)
    np.fill_diagonal(apart, np.inf)
    assert radius == pytest.approx(np.sort(apart.min(1))[0])
    halved = clique_radius(real, lambda volumes: volumes / 2)
    assert halved == pytest.approx(radius / 2, rel=1e-5)


class Pulled:
    """A denoiser whose clean scan is the age asked for, and the mean age unasked."""

    def encode(self, volumes):
        return volumes.reshape(len(volumes), -1).astype(np.float32)

    def condition(self, attributes):
        ages = np.array([50.0] if attributes is None else [row["age"] for row in attributes])
        return ages.astype(np.float32)[:, None]

    def path(self, t):
        return 1 - t, t

    def predict(self, z_t, t, condition):
        clean = np.broadcast_to((condition - 50) / 10, z_t.shape)
        return ((z_t - (1 - t) * clean) / t).astype(np.float32), clean.astype(np.float32)


def test_the_condition_pull_has_its_closed_form():
    found = condition_pull(Pulled(), [{"age": 50.0}, {"age": 70.0}], (24,), seed=0)
    times = np.linspace(1, 0, 11)[:-1]
    expected = 2 * np.sqrt(24) * ((1 - times) / times).mean()
    assert found == pytest.approx([0, expected], rel=1e-4)


def test_a_condition_that_pulls_strikingly_is_counted(real):
    attributes = tuple(
        {"age": 500.0} if n < 3 else row for n, row in enumerate(real.train.attributes)
    )
    train = Fold(real.train.volumes, real.train.subjects, attributes)
    folds = RealFolds(train, real.control, real.calibration)
    found = extraction(folds, fresh, close_to(folds), num_draws=1, denoiser=Pulled(), seed=0)
    assert found.striking == 3


@pytest.fixture(scope="module")
def asking_policy() -> Policy:
    asked = {"high_at_most": 0.001, "min_draws": 3000}
    return Policy.model_validate(read_policy("demo").model_dump() | {"extraction": asked})


def judged(policy: Policy, hits: int, draws: int, **changes) -> tuple[str, str]:
    given = {"targets_hit": min(hits, 64), "cliques": 0, "striking": None} | changes
    [row] = rows(Extraction(num_targets=64, draws=draws, hits=hits, **given), policy)
    return row.result, row.reason


def test_a_policy_without_extraction_binds_no_row():
    assert terms(read_policy("demo")) == {}
    assert rows(None, read_policy("demo")) == []


def test_without_a_sampler_nothing_is_run(asking_policy):
    [row] = rows(None, asking_policy)
    assert row.result == "NOT_RUN"
    assert "checkpoint" in row.reason


def test_no_hit_in_three_thousand_passes(asking_policy):
    result, reason = judged(asking_policy, 0, 3072)
    assert result == "PASS"
    assert "0 of 3072 draws aimed at 64 members" in reason
    assert "0.097 %" in reason


def test_hits_fail_and_few_draws_are_inconclusive(asking_policy):
    assert judged(asking_policy, 40, 3072)[0] == "FAIL"
    result, reason = judged(asking_policy, 0, 2048)
    assert result == "INCONCLUSIVE"
    assert "952 more draws" in reason
    assert "leaves no room" in judged(asking_policy, 4, 3072)[1]


def test_cliques_and_conditions_are_told_without_deciding(asking_policy):
    result, reason = judged(asking_policy, 0, 3072, cliques=3, striking=2)
    assert result == "PASS"
    assert "draws for 3 of them hold 10 or more of one picture" in reason
    assert "for 2 the condition alone" in reason
