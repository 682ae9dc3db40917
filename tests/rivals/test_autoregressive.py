import numpy as np
import pytest
import torch

from medsynth.core.schema import AttributeSchema
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.rivals.autoregressive import Codebook, CodebookShape, CodeWriter, choose
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
    chance = np.random.default_rng(0).random((5, LENGTH))
    with torch.no_grad():
        written = network.write(few, chance)
        logits = network(written, few)
    for place in range(LENGTH):
        again = choose(logits[:, place], torch.from_numpy(chance[:, place]))
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


def test_codes_are_drawn_as_often_as_their_probabilities_say():
    shares = torch.tensor([0.1, 0.6, 0.05, 0.25])
    chance = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    drawn = choose(shares.log().expand(20_000, 4), chance)[:, 0]
    counts = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(counts, shares, atol=0.01, rtol=0)


@pytest.mark.parametrize("sides", [(12, 8), (4, 8, 12)])
def test_codes_decode_to_images_of_the_same_sides(sides):
    torch.manual_seed(0)
    codebook = Codebook(CodebookShape(len(sides), (8, 8), NUM_CODES, 4)).eval()
    images = torch.rand(3, 1, *sides)
    codes = codebook.encode(images)
    assert codes.shape == (3, *(side // 4 for side in sides))
    torch.testing.assert_close(codebook.decode(codes), codebook(images)[0])


def test_a_codebook_begins_where_the_encoder_is():
    torch.manual_seed(0)
    codebook = Codebook(CodebookShape(2, (8, 8), NUM_CODES, 4)).eval()
    images = torch.rand(4, 1, 16, 12)
    far = codebook(images)[1]
    codebook.begin_at(images)
    assert codebook(images)[1] < far / 10


def test_a_codebook_is_as_exact_in_bf16_as_in_fp32():
    torch.manual_seed(0)
    codebook = Codebook(CodebookShape(2, (8, 8), NUM_CODES, 4)).train()
    images = torch.rand(4, 1, 16, 12)
    with torch.autocast("cpu", torch.bfloat16):
        codebook(images)
    quantizer = codebook.network.quantizer.quantizer
    weights = (quantizer.ema_cluster_size + 1e-5) / (
        quantizer.ema_cluster_size.sum() + NUM_CODES * 1e-5
    )
    expected = quantizer.ema_w / (weights * quantizer.ema_cluster_size.sum())[:, None]
    torch.testing.assert_close(quantizer.embedding.weight.data, expected)


def test_it_learns_brightness_from_age(make_ground, tiny, settings, tmp_path, a_second_a_look):
    config = tiny.model_copy(update={"minutes": 8.0})
    entry = train_autoregressive(make_ground(), config, settings, 0, unheard, tmp_path)
    ages = np.linspace(22.0, 41.0, 20)
    drawn = entry.contestant.draw([{"age": float(age)} for age in ages], range(20), 0)
    assert np.corrcoef(ages, drawn.mean((1, 2, 3)))[0, 1] > 0.6
    assert entry.effort.passes == 3 * 4  # sides 9 and 14, padded to 12 and 16, four voxels a code


def test_it_learns_without_attributes_and_in_3d(
    make_ground, tiny, settings, tmp_path, a_second_a_look
):
    ground = make_ground((6, 5, 9), AttributeSchema())
    brief = tiny.model_copy(update={"minutes": 1.0})
    entry = train_autoregressive(ground, brief, settings, 0, unheard, tmp_path)
    assert entry.contestant.draw([{}], [3], 0).shape == (1, 6, 5, 9)
