"""Attributes: normal forms, units, missing as a state, contradictions as flags, default deny."""

import pytest
from pydantic import ValidationError

from medsynth.core.schema import Attribute
from medsynth.ingest.config import AttributeSource
from medsynth.ingest.facts.attributes import Facts, Field, Origin, Parsed, parse_value
from medsynth.ingest.facts.units import factor, split_unit, unit_in
from medsynth.ingest.facts.vocabulary import (
    normal_age,
    normal_contrast,
    normal_field,
    normal_kernel,
    normal_region,
    normal_sequence,
    normal_sex,
    normal_vendor,
    normal_view,
)

TAG = Origin("PatientAge", "tag", "PatientAge")
COLUMN = Origin("age", "column", "PatientAge")
AGE = Field(Attribute("age", "continuous", "years", 0.0, 89.0), (TAG,))
BOTH = Field(AGE.attribute, (COLUMN, TAG))


def number(name, unit="", *, place="", source_unit="", kind="column"):
    origin = Origin(place or name, kind, "")
    return Field(Attribute(name, "continuous", unit), (origin,), source_unit=source_unit)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("056Y", 56), ("006M", 0.5), ("010W", 70 / 365.25), ("003D", 3 / 365.25), ("089Y", 89),
        ("095Y", 89), ("89+", 89), (">89", 89), ("90+", 89), ("61.4", 61.4), ("7 years", 7),
    ],
)  # fmt: skip
def test_ages_become_years_of_at_most_89(text, years):
    assert float(normal_age(text)) == pytest.approx(years)


@pytest.mark.parametrize("text", ["fifty", "999", "-3", "1956", "19560101"])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(ValueError, match="age"):
        normal_age(text)


def test_sexes_have_many_spellings_and_others_are_refused():
    assert [normal_sex(text) for text in ("Female", "W", "MALE", "m", "O", "divers")] == [*"FFMMOO"]
    for text in ("D", "1", "X"):
        with pytest.raises(ValueError, match="sex"):
            normal_sex(text)


def test_vendors_come_from_a_closed_list():
    names = ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "Orange Imaging", "Dr Doe"]
    assert [normal_vendor(name) for name in names] == ["Siemens", "Siemens", "GE", "other", "other"]


@pytest.mark.parametrize(
    ("text", "tesla"),
    [
        ("1.494", "1.5"), ("2.89", "3"), ("15000", "1.5"), ("30000 G", "3"), ("3T", "3"),
        ("0.064", "0.06"), ("0.55", "0.55"), ("1500 mT", "1.5"), ("7", "7"),
    ],
)  # fmt: skip
def test_field_strengths_become_tesla(text, tesla):
    assert normal_field(text) == tesla


@pytest.mark.parametrize("text", ["0", "-1", "26 T", "strong"])
def test_what_is_no_field_strength_is_refused(text):
    with pytest.raises(ValueError, match="field strength"):
        normal_field(text)


def test_body_parts_and_views_come_from_closed_lists():
    parts = ("head", "SKULL", "69536005", "T-D1100", "Cervical Spine", "51185008")
    assert [normal_region(text) for text in parts] == ["HEAD"] * 4 + ["CSPINE", "CHEST"]
    assert [normal_view(text) for text in ("pa", "LL", "Lateral")] == ["PA", "LATERAL", "LATERAL"]
    for form in (normal_region, normal_view):
        with pytest.raises(ValueError, match="list"):
            form("Jane Doe")


def test_codes_of_regions_mean_what_dicom_says():
    from pydicom.sr.codedict import codes

    for ours, theirs in [
        ("HEAD", codes.SCT.Head), ("BRAIN", codes.SCT.Brain), ("CHEST", codes.SCT.Chest),
        ("KNEE", codes.SCT.Knee), ("PELVIS", codes.SCT.Pelvis), ("ABDOMEN", codes.SCT.Abdomen),
        ("LSPINE", codes.SCT.LumbarSpine), ("PROSTATE", codes.SCT.Prostate),
    ]:  # fmt: skip
        assert normal_region(theirs.value) == ours


def test_sequences_contrast_and_kernels_become_few_words():
    assert [normal_sequence(text) for text in ("GR\\IR", "IR_GR", "se")] == ["GR+IR", "GR+IR", "SE"]
    assert [normal_contrast(text) for text in ("Gadovist 7 ml", "no")] == ["yes", "no"]
    kernels = ("B30f", "Br40", "B70s", "BONE", "SOFT", "FC08", "STANDARD")
    assert [normal_kernel(text) for text in kernels[:5]] == [
        "smooth", "standard", "sharp", "sharp", "smooth"
    ]  # fmt: skip
    for form, text in ((normal_sequence, "MPRAGE"), (normal_kernel, "Dr Doe")):
        with pytest.raises(ValueError, match="must"):
            form(text)


@pytest.mark.parametrize(
    ("text", "unit", "place", "stated", "wanted", "value"),
    [
        ("70", "kg", "weight [lb]", {}, "", 31.7514659),
        ("154 lb", "kg", "weight", {}, "", 69.853225),
        ("0.005", "ms", "te", {"te": "s"}, "", 5),
        ("2.5", "mm3", "lesion", {}, "ml", 2500),
        ("2.5", "mm3", "lesion", {}, "", 2.5),
        ("1.75 m", "cm", "height", {"height": "cm"}, "", 175),
    ],
)
def test_numbers_are_converted_into_the_declared_unit(text, unit, place, stated, wanted, value):
    field = number("x", unit, place=place, source_unit=wanted)
    facts = Facts(rows=[{place: text}], units=stated)
    assert parse_value(field, facts).value == pytest.approx(value)


def test_a_number_of_another_kind_of_unit_is_refused():
    facts = Facts(rows=[{"weight": "12 cm"}])
    assert parse_value(number("weight", "kg"), facts).flags == ("attribute_refused:weight",)
    with pytest.raises(ValueError, match="length cannot be one of mass"):
        factor("cm", "kg")
    assert (split_unit("1e3 ms"), split_unit("T2"), unit_in("age (yrs)")) == (
        ("1e3", "ms"), ("T2", ""), "years"
    )  # fmt: skip


def test_ages_in_months_are_years_and_may_be_wanted_in_months():
    field = Field(Attribute("age", "continuous", "months"), (COLUMN,))
    assert parse_value(field, Facts(rows=[{"age": "18"}], units={"age": "months"})).value == 18
    assert parse_value(field, Facts(rows=[{"age": "2"}])).value == 24
    old = parse_value(field, Facts(rows=[{"age": "95"}]))
    assert (old.value, old.flags) == (89 * 12, ("top_coded",))


@pytest.mark.parametrize("text", ["", "n/a", "unknown", "-", " "])
def test_a_missing_value_stays_missing_without_a_flag(text):
    assert parse_value(AGE, Facts(tags=[{"PatientAge": text}])) == Parsed(None)


def test_further_words_for_missing_are_declared():
    field = Field(Attribute("x", "continuous"), (Origin("x"),), missing=frozenset({"999"}))
    assert parse_value(field, Facts(rows=[{"x": "999"}])) == Parsed(None)


def test_a_value_out_of_range_becomes_missing_with_a_flag():
    field = Field(Attribute("nihss", "continuous", "", 0.0, 42.0), (Origin("nihss"),))
    found = parse_value(field, Facts(rows=[{"nihss": "99"}]))
    assert found == Parsed(None, ("attribute_refused:nihss",))


def test_differing_rows_and_planes_are_ambiguous_and_never_last_wins():
    lesion = Field(Attribute("lesion", "category", values=("no", "yes")), (Origin("lesion"),))
    rows = Facts(rows=[{"lesion": "yes"}, {"lesion": "no"}, {"lesion": "no"}])
    assert parse_value(lesion, rows) == Parsed(None, ("attribute_ambiguous:lesion",))
    planes = Facts(tags=[{"PatientAge": "056Y"}, {"PatientAge": "057Y"}])
    assert parse_value(AGE, planes) == Parsed(None, ("attribute_ambiguous:age",))


def test_equal_spellings_are_not_ambiguous():
    facts = Facts(tags=[{"PatientAge": "056Y"}, {"PatientAge": "56Y"}, {}])
    assert parse_value(AGE, facts) == Parsed(56.0, (), TAG)


def test_sources_that_contradict_each_other_leave_the_value_missing():
    facts = Facts(tags=[{"PatientAge": "056Y"}], rows=[{"age": "65"}])
    assert parse_value(BOTH, facts) == Parsed(None, ("attribute_conflict:age",))


def test_the_first_of_agreeing_sources_counts_and_others_fill_its_gaps():
    tag = {"PatientAge": "056Y"}
    assert parse_value(BOTH, Facts([tag], [{"age": "56.4"}])) == Parsed(56.4, (), COLUMN)
    assert parse_value(BOTH, Facts([tag], [{"age": ""}])) == Parsed(56.0, (), TAG)
    refused = parse_value(BOTH, Facts([tag], [{"age": "old"}]))
    assert refused == Parsed(56.0, ("attribute_refused:age",), TAG)


def test_old_age_is_flagged_as_top_coded():
    facts = Facts(tags=[{"PatientAge": "089Y"}])
    assert parse_value(AGE, facts) == Parsed(89.0, ("top_coded",), TAG)


def test_a_regions_code_is_believed_before_its_word():
    part = Origin("BodyPartExamined", "tag", "BodyPartExamined")
    field = Field(Attribute("body_part", "category"), (part,))
    tags = {"AnatomicRegionSequence": "12738006", "BodyPartExamined": "CHEST"}
    assert parse_value(field, Facts([tags])).value == "BRAIN"


def test_unknown_units_cannot_be_declared():
    with pytest.raises(ValidationError, match="source_unit"):
        AttributeSource(source_unit="furlong")
