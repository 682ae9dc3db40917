import numpy as np

from medsynth.models.draws import in_batches, standard_normal


def test_noise_is_standard_normal_and_its_start_does_not_depend_on_its_shape():
    noise = standard_normal(5, 3, (200, 100), stream=4)
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03
    assert np.array_equal(noise.ravel()[:6], standard_normal(5, 3, (2, 3), stream=4).ravel())


def test_every_seed_index_stream_and_step_has_numbers_of_its_own():
    first = standard_normal(5, 3, (4,), stream=4)
    others = [
        standard_normal(6, 3, (4,), stream=4),
        standard_normal(5, 4, (4,), stream=4),
        standard_normal(5, 3, (4,), stream=1),
        standard_normal(5, 3, (4,), stream=4, step=1),
    ]
    assert all(not np.isclose(first, other).any() for other in others)


def test_every_batch_is_full_and_what_fills_it_is_dropped():
    seen = []

    def twice(rows):
        seen.append(rows.tolist())
        return 2 * rows

    assert in_batches(twice, 3, np.arange(5)).tolist() == [0, 2, 4, 6, 8]
    assert seen == [[0, 1, 2], [3, 4, 4]]
