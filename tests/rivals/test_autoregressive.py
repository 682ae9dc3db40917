import numpy as np
import pytest
import torch

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.rivals.autoregressive import CodeWriter, choose
from medsynth.rivals.autoregressive_training import train_autoregressive
from medsynth.train.report import unheard

NUM_CODES, LENGTH = 8, 7


@pytest.fixture
def writer(make_ground):
    torch.manual_seed(0)
    ground = make_ground()
    encoder = ConditionEncoder(ground.schema, ground.trained, 16)
    network = CodeWriter(
        encoder, num_codes=NUM_CODES, length=LENGTH, width=16, depth=2, heads=2, dropout=0.0
    )
    asked = encode_attributes(ground.schema, ground.trained, ground.fold.attributes)
    return network.eval(), asked


def test_writing_with_a_cache_is_the_whole_pass_place_by_place(writer):
    network, asked = writer
    few = asked.take(torch.arange(5))
    chance = torch.rand(5, LENGTH, dtype=torch.float64)
    with torch.no_grad():
        written = network.write(few, chance)
        logits = network(written, few)
    for place in range(LENGTH):
        again = choose(logits[:, place], chance[:, place])
        assert torch.equal(again[:, 0], written[:, place])


def test_no_code_sees_those_after_it(writer):
    network, asked = writer
    few, codes = asked.take(torch.arange(2)), torch.randint(NUM_CODES, (2, LENGTH))
    changed = codes.clone()
    changed[:, 4] = (codes[:, 4] + 1) % NUM_CODES
    with torch.no_grad():
        before, after = network(codes, few), network(changed, few)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5], after[:, 5])


def test_a_number_chooses_the_code_whose_share_holds_it():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).expand(5, 3)
    chance = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.999999])
    assert choose(logits, chance)[:, 0].tolist() == [0, 0, 1, 1, 2]
    never = torch.log(torch.tensor([[0.0, 0.5, 0.5]]))
    assert choose(never, torch.zeros(1)).item() == 1


def test_codes_are_drawn_as_often_as_their_probabilities_say():
    shares = torch.tensor([0.1, 0.6, 0.05, 0.25])
    chance = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    drawn = choose(shares.log().expand(20_000, 4), chance)[:, 0]
    counts = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(counts, shares, atol=0.01, rtol=0)


def test_it_learns_brightness_from_age(make_ground, tiny, settings, a_second_a_look):
    config = tiny.model_copy(update={"minutes": 8.0})
    ground = make_ground(schema=AttributeSchema((Attribute("age", "continuous", "years"),)))
    entry = train_autoregressive(ground, config, settings, 0, unheard)
    ages = np.linspace(22.0, 41.0, 20)
    drawn = entry.contestant.draw([{"age": float(age)} for age in ages], range(20), 0)
    assert np.corrcoef(ages, drawn.mean((1, 2, 3)))[0, 1] > 0.9
    assert entry.effort.passes == 3 * 4  # sides 9 and 14, padded to 12 and 16, four voxels a code


def test_it_learns_without_attributes_and_in_3d(make_ground, tiny, settings, a_second_a_look):
    ground = make_ground((6, 5, 9), AttributeSchema())
    brief = tiny.model_copy(update={"minutes": 1.0})
    entry = train_autoregressive(ground, brief, settings, 0, unheard)
    assert entry.contestant.draw([{}], [3], 0).shape == (1, 6, 5, 9)


def test_codes_begin_without_the_cosines_of_the_config(
    make_ground, tiny, settings, a_second_a_look
):
    cosines = settings.model_copy(update={"autoencoder_cosines": True})
    brief = tiny.model_copy(update={"minutes": 0.01})
    entry = train_autoregressive(make_ground(), brief, cosines, 0, unheard)
    assert entry.effort.steps == 2
