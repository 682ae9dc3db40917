import dataclasses

import numpy as np
import pytest

from medsynth.core.schema import AttributeSchema
from medsynth.models.guidance import Guidance
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import SamplerConfig

HOW = SamplerConfig(num_steps=3, batch=4, guidance=Guidance(2.0))
KNOWN_NOISE = [1.0151492, -0.3552178, 0.4833896, 0.4195675]
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


def test_noise_stays_what_it_was_in_every_version(make_synthesizer):
    """Philox 4x64-10 by its published constants, and the normal quantile: known numbers."""
    noise = make_synthesizer().noise(7, 417).ravel()[:4]
    np.testing.assert_allclose(noise, KNOWN_NOISE, atol=1e-6)


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


@pytest.mark.parametrize("target", ["flow", "epsilon", "v"])
def test_fresh_noise_is_a_scans_own(make_synthesizer, target):
    ours = make_synthesizer(objective=Objective.of(target))
    how = dataclasses.replace(HOW, method="ancestral")
    together = ours.draw(REQUESTS, range(7), 3, how)
    assert np.array_equal(ours.draw(REQUESTS[5:6], [5], 3, how), together[5:6])
    assert not np.array_equal(ours.draw(REQUESTS, range(7), 3, HOW), together)


def test_streams_and_steps_have_noise_of_their_own(make_synthesizer):
    ours = make_synthesizer()
    draws = [ours.noise(0, 0, stream, step) for stream in (1, 3) for step in (0, 1)]
    correlation = np.corrcoef([draw.ravel() for draw in draws])
    assert np.abs(correlation - np.eye(4)).max() < 0.4


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance(2.0, weights={"age": 4.0}),
        Guidance(2.0, negative={"sex": "M"}),
        Guidance(2.0, rescale=0.7),
        Guidance(2.0, low=0.4, high=0.6),
    ],
)
def test_every_part_of_the_guidance_changes_a_scan(make_synthesizer, guidance):
    ours = make_synthesizer()
    plain = ours.draw(REQUESTS[:2], [0, 1], 0, HOW)
    other = ours.draw(REQUESTS[:2], [0, 1], 0, dataclasses.replace(HOW, guidance=guidance))
    assert not np.allclose(plain, other, atol=1e-4)


def test_moving_away_from_what_is_asked_is_no_guidance(make_synthesizer):
    ours = make_synthesizer()
    same = dataclasses.replace(HOW, guidance=Guidance(5.0, negative=REQUESTS[0]))
    unguided = dataclasses.replace(HOW, guidance=Guidance(1.0))
    got, expected = (ours.draw(REQUESTS[:1], [0], 0, how) for how in (same, unguided))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_an_unseen_negative_value_is_refused_by_name(make_synthesizer):
    how = dataclasses.replace(HOW, guidance=Guidance(2.0, negative={"sex": "X"}))
    with pytest.raises(ValueError, match="sex"):
        make_synthesizer().draw(REQUESTS[:1], [0], 0, how)


def test_shortcuts_are_for_distilled_generators(make_synthesizer):
    how = dataclasses.replace(HOW, method="shortcut")
    with pytest.raises(ValueError, match="shortcut needs a generator that was distilled"):
        make_synthesizer().draw(REQUESTS[:1], [0], 0, how)


@pytest.mark.parametrize("method", ["euler", "heun", "ab2", "ancestral"])
def test_a_trace_ends_in_the_scan_that_is_drawn(make_synthesizer, method):
    ours, how = make_synthesizer(), dataclasses.replace(HOW, method=method)
    states = ours.trace(REQUESTS, range(7), 3, how, num_states=4)
    assert states.shape == (7, 4, 20, 12, 1)
    assert np.array_equal(states[:, -1], ours.draw(REQUESTS, range(7), 3, how))
    assert not np.array_equal(states[:, 0], states[:, -1])


def test_a_straight_step_heads_for_what_one_step_would_give(make_synthesizer):
    ours, how = make_synthesizer(), dataclasses.replace(HOW, method="euler")
    states = ours.trace(REQUESTS[:2], range(2), 3, how, num_states=4)
    np.testing.assert_allclose(states[:, -2], states[:, -1], atol=1e-5)
    one_step = ours.draw(REQUESTS[:2], range(2), 3, dataclasses.replace(how, num_steps=1))
    np.testing.assert_allclose(states[:, 0], one_step, atol=1e-5)
