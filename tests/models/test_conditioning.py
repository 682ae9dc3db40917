import pytest
import torch

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.conditioning import (
    MISSING,
    NULL,
    PRESENT,
    ConditionEncoder,
    encode_attributes,
)
from medsynth.models.trained import check_request, learn_attributes

SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years"),
        Attribute("sex", "category"),
        Attribute("finding", "labels"),
        Attribute("volume", "continuous", "mm3", scale="log"),
    )
)
ROWS = [
    {"age": 20.0 + i, "sex": "FM"[i % 2], "finding": ["A", "A|B"][i % 2], "volume": 2.0**i}
    for i in range(20)
]
TRAINED = learn_attributes(SCHEMA, [*ROWS, {}])


def tokens(*rows, null=False):
    torch.manual_seed(0)
    batch = encode_attributes(SCHEMA, TRAINED, rows)
    return ConditionEncoder(SCHEMA, TRAINED, 8)(batch.null() if null else batch)


def test_missing_and_not_asked_are_different_tokens():
    missing, null = tokens({}), tokens({}, null=True)
    assert missing.shape == (1, 4, 8)
    assert ((missing - null).abs().amax(dim=2) > 0).all()


def test_null_hides_every_value():
    assert torch.equal(tokens(ROWS[0], null=True), tokens(ROWS[7], null=True))


def test_each_attribute_changes_its_own_token_only():
    base, other = ROWS[0], ROWS[0] | {"sex": "M"}
    changed = (tokens(base) != tokens(other)).any(dim=2)[0]
    assert changed.tolist() == [False, True, False, False]


def test_several_labels_are_the_sum_of_flags():
    batch = encode_attributes(SCHEMA, TRAINED, [{"finding": "A|B"}, {"finding": "A"}])
    assert batch.values[:, 3:5].tolist() == [[1, 1], [1, 0]]


def test_numbers_are_scaled_by_training_statistics():
    values = encode_attributes(SCHEMA, TRAINED, ROWS).values
    for column in (0, 5):
        assert values[:, column].mean() == pytest.approx(0, abs=1e-5)
        assert values[:, column].std(correction=0) == pytest.approx(1, abs=1e-5)


def test_states_tell_present_missing_and_null():
    batch = encode_attributes(SCHEMA, TRAINED, [{"age": 25.0, "sex": None}])
    assert batch.states.tolist() == [[PRESENT, MISSING, MISSING, MISSING]]
    assert (batch.null().states == NULL).all()


def test_what_was_never_missing_cannot_be_asked_to_be_missing():
    trained = learn_attributes(SCHEMA, [*ROWS, {"age": 30.0}])
    batch = encode_attributes(SCHEMA, trained, [{}])
    assert batch.states.tolist() == [[NULL, MISSING, MISSING, MISSING]]


ORDINAL = AttributeSchema((Attribute("grade", "ordinal", values=("none", "mild", "bad", "worst")),))


def test_an_ordinal_value_has_every_flag_up_to_it_and_its_step():
    trained = learn_attributes(ORDINAL, [{"grade": g} for g in ("worst", "none", "mild", "bad")])
    assert trained["grade"].words == ("none", "mild", "bad", "worst")
    rows = [{"grade": "none"}, {"grade": "bad"}, {"grade": "worst"}]
    values = encode_attributes(ORDINAL, trained, rows).values
    assert values[:, :4].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert values[:, 4].tolist() == pytest.approx([0, 2 / 3, 1])


def test_an_ordinal_value_that_training_lacked_leaves_the_others_their_steps():
    trained = learn_attributes(ORDINAL, [{"grade": "worst"}, {"grade": "none"}])
    values = encode_attributes(ORDINAL, trained, [{"grade": "worst"}, {"grade": "none"}]).values
    assert values.tolist() == [[1, 1, 1], [1, 0, 0]]
    with pytest.raises(ValueError, match="grade must be one of the trained values none, worst"):
        check_request(ORDINAL, trained, {"grade": "mild"})


def test_neighbors_in_an_order_have_tokens_closer_than_its_ends():
    trained = learn_attributes(ORDINAL, [{"grade": g} for g in ORDINAL["grade"].values])
    torch.manual_seed(0)
    rows = [{"grade": g} for g in ORDINAL["grade"].values]
    none, mild, _, worst = ConditionEncoder(ORDINAL, trained, 64)(
        encode_attributes(ORDINAL, trained, rows)
    )[:, 0]
    assert (none - mild).norm() < (none - worst).norm()


def test_attributes_are_dropped_alone_and_together():
    torch.manual_seed(0)
    batch = encode_attributes(SCHEMA, TRAINED, ROWS * 200)
    dropped = (batch.dropped(0.1).states == NULL).float()
    assert dropped.mean() == pytest.approx(0.19, abs=0.02)
    assert dropped.all(dim=1).float().mean() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("name", "value"), [("age", 90.0), ("sex", "X"), ("finding", "A|C"), ("height", 1.0)]
)
def test_what_training_never_saw_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        check_request(SCHEMA, TRAINED, {name: value})


def test_what_training_saw_or_lacked_may_be_asked():
    for row in (ROWS[5], {"age": None}, {}):
        check_request(SCHEMA, TRAINED, row)


def test_masks_need_a_grid():
    schema = AttributeSchema((Attribute("lesion", "mask"),))
    with pytest.raises(ValueError, match="lesion: masks need the grid"):
        learn_attributes(schema, [{}])


def test_a_schema_without_attributes_has_one_constant_token():
    empty = AttributeSchema()
    encoder = ConditionEncoder(empty, {}, 8)
    batch = encode_attributes(empty, {}, [{}, {}])
    assert encoder(batch).shape == (2, encoder.num_tokens, 8)
    assert torch.equal(encoder(batch), encoder(batch.null()))


def test_an_attribute_that_is_always_missing_still_has_its_tokens():
    trained = learn_attributes(SCHEMA, [{}, {}])
    batch = encode_attributes(SCHEMA, trained, [{}])
    assert ConditionEncoder(SCHEMA, trained, 8)(batch).shape == (1, 4, 8)


def test_every_weight_takes_part():
    encoder = ConditionEncoder(SCHEMA, TRAINED, 8)
    encoder(encode_attributes(SCHEMA, TRAINED, ROWS)).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
