"""What the judge is handed is what the generator itself computes."""

import numpy as np
import pytest
import torch

from flows.ways import grids_of
from flows.white_box import ATTACK_SEEDS, WhiteBox, as_trained, draw_for
from medsynth.checkpoint import Generator, load_generator, save_generator
from medsynth.core.protocols import Denoiser, Draw
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.conditioning import encode_attributes
from medsynth.models.denoiser import Denoiser as Network
from medsynth.models.guidance import Guidance
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import SamplerConfig
from privacy.attacks.extraction import extraction
from privacy.attacks.membership import membership
from privacy.folds import Fold, RealFolds

FLOW = Objective()
SHAPE = (12, 10, 1)
SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years"),
        Attribute("sex", "category"),
        Attribute("finding", "labels"),
    )
)
ROWS = [
    {"age": 40.0 + i % 40, "sex": "FM"[i % 2], "finding": ["A", "A|B"][i % 2]} for i in range(200)
]


@pytest.fixture(scope="module")
def generator(tmp_path_factory, random_generator) -> Generator:
    """A checkpoint folder with random weights, written and read again."""
    folder = tmp_path_factory.mktemp("checkpoint")
    made = random_generator(SCHEMA, ROWS, scale=((0.1, -0.2), (0.5, 2.0)))
    save_generator(folder, made, prepared_digest="0" * 64)
    return load_generator(folder)


@pytest.fixture
def white_box(generator) -> WhiteBox:
    return WhiteBox(generator)


@pytest.fixture
def latents(white_box, rng) -> np.ndarray:
    return white_box.encode(rng.random((5, *SHAPE), np.float32))


def test_both_keep_the_judges_protocols(generator, white_box):
    assert isinstance(white_box, Denoiser)
    assert isinstance(draw_for(generator), Draw)


def test_latents_are_those_of_training(generator, white_box, rng):
    volumes = rng.random((3, *SHAPE), np.float32)
    ours = generator.synthesizer
    with torch.inference_mode():
        expected = ours.scale.apply(ours.autoencoder.encode(ours.frame.to_tensor(volumes)))
    assert np.allclose(white_box.encode(volumes), expected.numpy(), atol=1e-6)


def test_decoded_latents_are_the_generators_round_trip(generator, white_box, rng):
    volumes = rng.random((3, *SHAPE), np.float32)
    back = white_box.decode(white_box.encode(volumes))
    assert np.allclose(back, generator.round_trip(volumes), atol=1e-5)


@pytest.mark.parametrize("t", [0.05, 0.3, 0.9])
def test_the_path_is_the_objectives_own(white_box, latents, rng, t):
    noise = rng.standard_normal(latents.shape, np.float32)
    times = torch.full((len(latents),), t)
    expected = FLOW.add_noise(torch.from_numpy(latents), torch.from_numpy(noise), times)
    a, s = white_box.path(t)
    assert np.allclose(a * latents + s * noise, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("t", [0.05, 0.3, 0.9])
def test_errors_are_those_of_the_velocity(generator, white_box, latents, rng, t):
    """noise_hat - noise = (1 - t) (u_true - u) and clean_hat - clean = -t (u_true - u)."""
    noise = rng.standard_normal(latents.shape, np.float32)
    x0, eps, times = *map(torch.from_numpy, (latents, noise)), torch.full((5,), t)
    ours = generator.synthesizer
    asked = encode_attributes(SCHEMA, ours.trained, ROWS[:5])
    with torch.inference_mode():
        u = ours.denoiser(FLOW.add_noise(x0, eps, times), times, ours.encoder(asked))
    missed = (FLOW.learned(x0, eps, times) - u).numpy()
    z_t = FLOW.add_noise(x0, eps, times).numpy()
    seen, clean = white_box.predict(z_t, t, white_box.condition(ROWS[:5]))
    assert np.allclose(seen - noise, (1 - t) * missed, atol=1e-4)
    assert np.allclose(clean - latents, -t * missed, atol=1e-4)
    assert np.abs(missed).mean() > 0.1


def test_a_perfect_network_gives_noise_and_clean_scan(white_box, latents, rng, monkeypatch):
    noise = rng.standard_normal(latents.shape, np.float32)
    x0, eps = torch.from_numpy(latents), torch.from_numpy(noise)
    true = FLOW.learned(x0, eps, torch.tensor(0.4))
    monkeypatch.setattr(Network, "forward", lambda self, z, t, c: true)
    z_t = 0.6 * latents + 0.4 * noise
    seen, clean = white_box.predict(z_t.astype(np.float32), 0.4, white_box.condition(None))
    assert np.allclose(seen, noise, atol=1e-5)
    assert np.allclose(clean, latents, atol=1e-5)


def test_nothing_asked_is_the_null_condition_of_any_number(generator, white_box, latents):
    ours = generator.synthesizer
    null = ours.encoder(encode_attributes(SCHEMA, ours.trained, ROWS[:5]).null())
    by_hand = white_box.predict(latents, 0.5, null)
    empty = white_box.predict(latents, 0.5, white_box.condition(None))
    assert np.allclose(empty, by_hand, atol=1e-4)
    asked = white_box.predict(latents, 0.5, white_box.condition(ROWS[:5]))
    assert not np.allclose(asked, by_hand, atol=1e-2)


def test_many_scans_are_predicted_as_each_alone(white_box, rng):
    many = white_box.encode(rng.random((67, *SHAPE), np.float32))
    condition = white_box.condition(ROWS[:67])
    noise, clean = white_box.predict(many, 0.3, condition)
    alone = white_box.predict(many[65:66], 0.3, condition[65:66])
    assert np.allclose(alone[0], noise[65:66], atol=1e-4)
    assert np.allclose(alone[1], clean[65:66], atol=1e-4)


def test_words_never_trained_are_missing_and_numbers_stay(generator, white_box):
    row = {"age": 99.0, "sex": "X", "finding": "B|C", "site": "east"}
    assert as_trained(generator, row, clip=False) == {"age": 99.0, "sex": None, "finding": "B"}
    same = white_box.condition([{"age": 99.0, "sex": None, "finding": "B"}])
    assert torch.equal(white_box.condition([row]), same)


def test_what_the_sampler_refuses_is_asked_as_near_as_it_allows(generator):
    row = {"age": 99.0, "sex": "X"}
    nearest = {"age": generator.synthesizer.trained["age"].high, "sex": None, "finding": None}
    with pytest.raises(ValueError, match="age"):
        generator.draw([row], [0], seed=0)
    drawn = draw_for(generator)([row], 3.0, 7)
    how = SamplerConfig(guidance=Guidance(3.0))
    expected = generator.draw([nearest], [0], seed=ATTACK_SEEDS + 7, how=how)
    assert np.array_equal(drawn, expected)


def test_seeds_and_guidance_change_a_draw(generator):
    draw = draw_for(generator)
    first = draw(ROWS[:2], 1.0, 0)
    assert np.array_equal(first, draw(ROWS[:2], 1.0, 0))
    assert not np.array_equal(first, draw(ROWS[:2], 1.0, 1))
    assert not np.array_equal(first, draw(ROWS[:2], 6.0, 0))


def test_the_attacks_run_through_it(generator, white_box, rng):
    volumes = rng.random((40, *SHAPE), np.float32)
    numbers, known = np.arange(40), tuple(ROWS[:40])
    cuts = (slice(0, 20), slice(20, 36), slice(36, 40))
    members, controls, rest = (Fold(volumes[c], numbers[c], known[c]) for c in cuts)
    found = membership(members, controls, white_box, round_trip=generator.round_trip, seed=0)
    assert found.auc.low < 0.5 < found.auc.high  # random weights know nobody
    drawn = extraction(
        RealFolds(Fold(volumes[:2], numbers[:2], known[:2]), controls, rest),
        draw_for(generator), lambda draws, subject: np.zeros(len(draws), bool),
        num_draws=1, denoiser=white_box, round_trip=generator.round_trip, seed=0,
    )  # fmt: skip
    assert (drawn.hits, drawn.draws, drawn.num_targets) == (0, 8, 2)


def test_grids_have_the_edges_of_the_cells(generator):
    (grid, *_) = grids_of(generator)
    edges = grid.edges["age"]
    assert len(edges) >= 1
    for block, grid in zip(generator.cells.blocks, grids_of(generator), strict=True):
        inside: dict[tuple, set[int]] = {}
        for number, row in enumerate(ROWS):
            inside.setdefault(grid.cell(row), set()).add(number)
        assert sorted(map(len, inside.values())) == sorted(cell.count for cell in block)
