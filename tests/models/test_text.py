import numpy as np
import pytest
import torch

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.models.text import MOST_WORDS, NUM_TOKENS
from medsynth.models.trained import check_request, learn_attributes

SCHEMA = AttributeSchema((Attribute("age", "continuous"), Attribute("story", "text")))
ROWS = [
    {"age": 20.0 + i, "story": f"{['small', 'large'][i % 2]} lesion left of doe{'abc'[i % 3]}"}
    for i in range(24)
]
SUBJECTS = [f"s{i}" for i in range(24)]
TRAINED = learn_attributes(SCHEMA, [*ROWS, {}], subjects=[*SUBJECTS, "s24"])


def tokens(*stories, null=False):
    torch.manual_seed(0)
    encoder = ConditionEncoder(SCHEMA, TRAINED, 16)
    batch = encode_attributes(SCHEMA, TRAINED, [{"age": 21.0, "story": s} for s in stories])
    return encoder(batch.null() if null else batch)


def test_the_vocabulary_is_what_eleven_subjects_share():
    assert TRAINED["story"].words == ("large", "left", "lesion", "of", "small")
    assert learn_attributes(SCHEMA, ROWS, subjects=["one"] * 24)["story"].words == ()


def test_a_word_that_few_share_is_as_any_other_of_them():
    assert torch.equal(tokens("doea lesion"), tokens("jane lesion"))
    assert not torch.equal(tokens("doea lesion"), tokens("large lesion"))


def test_order_matters_and_case_does_not():
    assert not torch.equal(tokens("left of lesion"), tokens("lesion of left"))
    assert torch.equal(tokens("LEFT, of lesion"), tokens("left of lesion"))


def test_a_text_has_some_tokens_of_its_own_and_changes_no_other():
    one, two = tokens("small lesion", "large lesion")
    assert one.shape == (1 + NUM_TOKENS, 16)
    changed = (one - two).abs().amax(dim=1) > 1e-4
    assert changed.tolist() == [False] + [True] * NUM_TOKENS


def test_missing_not_asked_and_wordless_are_three_things():
    found = [tokens(None)[:, 1:], tokens("x", null=True)[:, 1:], tokens("!")[:, 1:]]
    assert all((found[a] - found[b]).abs().max() > 0.01 for a, b in [(0, 1), (0, 2), (1, 2)])


def test_a_text_is_the_same_whatever_stands_beside_it():
    alone, beside = tokens("small lesion"), tokens("small lesion", "large lesion left of lesion")
    torch.testing.assert_close(alone[0], beside[0])


@pytest.mark.parametrize("story", ["a new word", "lesion 15", "lesion _", "", "of " * 49])
def test_a_request_of_untrained_words_is_refused_without_repeating_it(story):
    with pytest.raises(ValueError, match="story") as error:
        check_request(SCHEMA, TRAINED, {"story": story})
    assert "new" not in str(error.value)
    assert "15" not in str(error.value)


def test_trained_words_may_be_asked_and_long_texts_are_cut():
    check_request(SCHEMA, TRAINED, {"story": "Large lesion, left of small lesion"})
    batch = encode_attributes(SCHEMA, TRAINED, [{"story": "of " * 99}])
    assert batch.values.shape == (1, 1 + MOST_WORDS)


def test_the_encoder_learns_which_word_stands_where():
    stories = ["small lesion", "large lesion", "lesion left", "lesion of small"]
    torch.manual_seed(0)
    encoder, head = ConditionEncoder(SCHEMA, TRAINED, 16), torch.nn.Linear(16 * NUM_TOKENS, 4)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2)
    batch = encode_attributes(SCHEMA, TRAINED, [{"age": 21.0, "story": s} for s in stories])
    for _ in range(60):
        logits = head(encoder(batch)[:, 1:].flatten(1))
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_every_weight_takes_part():
    encoder = ConditionEncoder(SCHEMA, TRAINED, 16)
    encoder(encode_attributes(SCHEMA, TRAINED, [*ROWS, {}])).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


class Encoder:
    """Stands for a frozen encoder: a state for each word, and a record of what it was given."""

    shape = (6, 3)

    def __init__(self):
        self.read = []

    def __getitem__(self, text):
        self.read.append(text)
        states = np.zeros(self.shape, np.float32)
        for place, word in enumerate(text.split()[: self.shape[0]]):
            states[place] = [len(word), ord(word[0]), 1 + place]
        return states


ENCODED = learn_attributes(
    SCHEMA, [*ROWS, {}], subjects=[*SUBJECTS, "s24"], text_shape=Encoder.shape
)


def encoded(*stories):
    texts, rows = Encoder(), [{"age": 21.0, "story": story} for story in stories]
    torch.manual_seed(0)
    encoder = ConditionEncoder(SCHEMA, ENCODED, 16)
    batch = encode_attributes(SCHEMA, ENCODED, rows, texts=texts)
    return encoder, encoder(batch), texts.read


def test_an_encoder_is_given_scrubbed_texts_alone_and_each_once():
    encoder, made, read = encoded("Small lesion, Doea 15", "small lesion jane 7", None, "! ")
    assert sorted(read) == ["", "small lesion _ _"]
    assert encoder.num_tokens == made.shape[1] == 1 + NUM_TOKENS
    assert torch.equal(made[0], made[1])
    assert all((made[a] - made[b]).abs().max() > 0.01 for a, b in [(0, 2), (0, 3), (2, 3)])


def test_an_encoded_text_changes_its_own_tokens_and_zeros_are_no_pieces():
    encoder, (one, two), _ = encoded("small lesion", "large lesion")
    changed = (one - two).abs().amax(dim=1) > 1e-4
    assert changed.tolist() == [False] + [True] * NUM_TOKENS
    reader, states = encoder.readers[1], torch.zeros(1, *Encoder.shape)
    states[0, :2] = torch.tensor([[1.0, 2, 3], [3.0, 2, 1]])
    reader.project.bias.data.normal_()
    found = reader.pool(
        reader.queries.weight[None], reader.project(states[:, :2]), torch.ones(1, 2).bool()
    )
    torch.testing.assert_close(reader(states.flatten(1)), reader.queries.weight + found)


def test_every_weight_over_an_encoder_takes_part():
    encoder, made, _ = encoded("small lesion", None)
    made.square().sum().backward()
    assert all(p.grad is not None for p in encoder.readers[1].parameters())
