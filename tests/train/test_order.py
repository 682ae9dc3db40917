import numpy as np

from medsynth.train.order import batch_rows, step_seed


def test_every_scan_is_seen_once_before_any_is_seen_twice():
    rows = np.concatenate([batch_rows(10, 4, 0, step).numpy() for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))


def test_a_batch_is_a_function_of_seed_and_step():
    assert batch_rows(50, 8, 1, 3).equal(batch_rows(50, 8, 1, 3))
    assert not batch_rows(50, 8, 1, 3).equal(batch_rows(50, 8, 2, 3))
    assert not batch_rows(50, 8, 1, 3).equal(batch_rows(50, 8, 1, 4))


def test_a_batch_may_be_larger_than_the_fold():
    rows = batch_rows(3, 8, 0, 0).numpy()
    assert np.bincount(rows).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_seeds_differ_by_purpose_and_step():
    seeds = {step_seed(0, stage, step) for stage in ("a", "b") for step in range(50)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
