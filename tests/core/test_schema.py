import pytest

from medsynth.core.schema import Attribute, AttributeSchema

AGE = Attribute("age", "continuous", "years", 0.0, 89.0)
SEX = Attribute("sex", "category", values=("F", "M"))
FINDING = Attribute("finding", "labels", values=("Edema", "Effusion", "Mass"))


@pytest.mark.parametrize("raw", ["", "n/a", "unknown", "-", None, float("nan"), " NA "])
@pytest.mark.parametrize("attribute", [AGE, SEX, FINDING])
def test_missing_words_become_missing_and_never_a_value(attribute: Attribute, raw: object) -> None:
    assert attribute.parse(raw) is None


def test_values_take_their_normal_form() -> None:
    schema = AttributeSchema((AGE, SEX, FINDING))
    parsed = schema.parse({"age": " 56 ", "sex": "F", "finding": "Mass|Edema"})
    assert parsed == {"age": 56.0, "sex": "F", "finding": "Edema|Mass"}


@pytest.mark.parametrize(
    ("attribute", "raw"),
    [(AGE, "90"), (AGE, "old"), (AGE, "inf"), (SEX, "X"), (FINDING, "Edema|Fever")],
)
def test_values_outside_the_declaration_are_refused_by_name_alone(
    attribute: Attribute, raw: str
) -> None:
    with pytest.raises(ValueError, match=attribute.name) as caught:
        attribute.parse(raw)
    assert raw not in str(caught.value)


def test_undeclared_attributes_are_refused() -> None:
    with pytest.raises(KeyError, match="weight"):
        AttributeSchema((AGE,)).parse({"weight": 3})


def test_schema_survives_json() -> None:
    schema = AttributeSchema((AGE, SEX, FINDING, Attribute("size", "continuous", scale="log")))
    assert AttributeSchema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a", "kind": "number"}, "kind"),
        ({"name": "two words", "kind": "text"}, "identifier"),
        ({"name": "a", "kind": "continuous", "low": 2.0, "high": 1.0}, "low must not exceed"),
    ],
)
def test_impossible_attributes_cannot_be_built(fields: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Attribute(**fields)  # type: ignore[arg-type]


def test_attribute_names_are_unique() -> None:
    with pytest.raises(ValueError, match="unique"):
        AttributeSchema((AGE, AGE))
