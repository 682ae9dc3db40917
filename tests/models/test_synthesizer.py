import numpy as np
import pytest

from medsynth.core.schema import AttributeSchema
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig

HOW = SamplerConfig(num_steps=3, batch=4, guidance=Guidance(2.0))
REQUESTS = [{"age": 25.0 + i, "sex": "F", "finding": "A"} for i in range(7)]


def test_a_scan_does_not_depend_on_how_many_are_drawn(make_synthesizer):
    ours = make_synthesizer()
    together = ours.draw(REQUESTS, range(7), 3, HOW)
    alone = ours.draw(REQUESTS[5:6], [5], 3, HOW)
    assert together.shape == (7, 20, 12, 1)
    assert np.array_equal(together[5:6], alone)


def test_order_and_batching_do_not_matter(make_synthesizer):
    ours = make_synthesizer()
    forward = ours.draw(REQUESTS, range(7), 3, HOW)
    assert np.array_equal(ours.draw(REQUESTS[::-1], range(7)[::-1], 3, HOW)[::-1], forward)
    other = ours.draw(REQUESTS, range(7), 3, SamplerConfig(3, batch=5, guidance=Guidance(2.0)))
    np.testing.assert_allclose(other, forward, atol=1e-4)


def test_index_seed_and_request_each_change_a_scan(make_synthesizer):
    ours = make_synthesizer()
    base = ours.draw(REQUESTS[:1], [0], 0, HOW)
    for requests, index, seed in [
        (REQUESTS[:1], 1, 0),
        (REQUESTS[:1], 0, 1),
        (REQUESTS[6:], 0, 0),
        ([{}], 0, 0),
    ]:
        assert not np.array_equal(ours.draw(requests, [index], seed, HOW), base)


def test_noise_is_standard_normal(make_synthesizer):
    ours = make_synthesizer()
    noise = np.stack([ours.noise(0, index) for index in range(200)])
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("shape", [(12, 20, 1), (9, 14, 11)])
def test_odd_shapes_come_back_whole(make_synthesizer, rng, shape):
    ours = make_synthesizer(shape)
    volumes = rng.random((3, *shape), dtype=np.float32)
    assert ours.round_trip(volumes, batch=2).shape == volumes.shape
    assert ours.draw(REQUESTS[:1], [0], 0, HOW).shape == (1, *shape)


def test_a_generator_without_attributes_draws(make_synthesizer):
    ours = make_synthesizer(schema=AttributeSchema())
    assert ours.draw([{}, {}], [0, 1], 0, HOW).shape == (2, 20, 12, 1)


def test_an_unseen_value_is_refused_by_name(make_synthesizer):
    with pytest.raises(ValueError, match="sex"):
        make_synthesizer().draw([{"sex": "X"}], [0], 0, HOW)
