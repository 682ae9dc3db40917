"""Attributes: normal forms, missing as a state, ambiguity and range as flags, default deny."""

import pytest
from pydantic import ValidationError

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute
from medsynth.ingest.attributes import (
    Facts,
    Origin,
    normal_age,
    normal_sex,
    normal_vendor,
    parse_value,
)
from medsynth.ingest.config import AttributeSource
from medsynth.ingest.schema import attributes_of, declared_fields, schema_of, shown_fields

AGE = Attribute("age", "continuous", "years", 0.0, 89.0)
FROM_TAG = Origin("PatientAge", is_tag=True)


@pytest.mark.parametrize(
    ("text", "years"),
    [("056Y", 56), ("006M", 0.5), ("089Y", 89), ("095Y", 89), ("89+", 89), ("61.4", 61.4)],
)
def test_ages_become_years_of_at_most_89(text, years):
    assert float(normal_age(text)) == pytest.approx(years)


def test_what_is_no_age_or_sex_is_refused():
    with pytest.raises(ValueError, match="age"):
        normal_age("fifty")
    with pytest.raises(ValueError, match="sex"):
        normal_sex("D")


def test_vendors_come_from_a_closed_list():
    names = ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "Orange Imaging", "Dr Doe"]
    assert [normal_vendor(name) for name in names] == ["Siemens", "Siemens", "GE", "other", "other"]


def test_a_missing_value_stays_missing_without_a_flag():
    for text in ("", "n/a", "unknown", "-"):
        facts = Facts(tags=[{"PatientAge": text}])
        assert parse_value(AGE, FROM_TAG, facts, {}) == (None, "")


def test_a_value_out_of_range_becomes_missing_with_a_flag():
    nihss = Attribute("nihss", "continuous", "", 0.0, 42.0)
    facts = Facts(rows=[{"nihss": "99"}])
    flagged = parse_value(nihss, Origin("nihss", is_tag=False), facts, {})
    assert flagged == (None, "attribute_refused:nihss")


def test_differing_rows_are_ambiguous_and_never_last_wins():
    facts = Facts(rows=[{"lesion": "yes"}, {"lesion": "no"}])
    lesion = Attribute("lesion", "category", values=("no", "yes"))
    flagged = parse_value(lesion, Origin("lesion", is_tag=False), facts, {})
    assert flagged == (None, "attribute_ambiguous:lesion")


def test_equal_spellings_are_not_ambiguous():
    facts = Facts(tags=[{"PatientAge": "056Y"}, {"PatientAge": "56Y"}])
    assert parse_value(AGE, FROM_TAG, facts, {}) == (56.0, "")


def test_old_age_is_flagged_as_top_coded():
    assert parse_value(AGE, FROM_TAG, Facts(tags=[{"PatientAge": "089Y"}]), {}) == (
        89.0,
        "top_coded",
    )


def test_other_spellings_are_declared():
    declared = {
        "lesion": AttributeSource(kind="category", values=("no", "yes"), words={"1": "yes"})
    }
    facts = [Facts(rows=[{"lesion": "1"}])]
    fields = declared_fields(declared, ["lesion"], facts)
    assert attributes_of(fields, facts[0]) == ({"lesion": "yes"}, ())


def test_a_scan_of_which_nothing_is_known_is_kept_and_flagged():
    fields = declared_fields({"age": AttributeSource(low=0.0, high=89.0)}, [], [])
    assert attributes_of(fields, Facts()) == ({"age": None}, ("no_attributes",))


def test_an_undeclared_source_is_refused_before_anything_is_read():
    with pytest.raises(UsageProblem, match="DICOM tags"):
        declared_fields({"name": AttributeSource(source="PatientName")}, ["age"], [])
    with pytest.raises(ValidationError):
        AttributeSource(kind="text")


def test_a_declaration_is_completed_by_the_data_rounded_outward():
    facts = [Facts(rows=[{"mm3": value}]) for value in ("1234.5", "4321.9", "")]
    [field] = declared_fields({"mm3": AttributeSource(unit="mm3")}, ["mm3"], facts)
    assert (field.attribute.low, field.attribute.high) == (1200, 4400)


def test_harmless_columns_are_shown_and_identifying_ones_are_not():
    rows = [
        {
            "patient_id": f"P{n}",
            "nihss": str(n % 7),
            "finding": ["Edema", "Edema|Mass", "No Finding"][n % 3],
            "hospital": "Northwick Infirmary",
            "SiteName": ["Northwick", "Harrowgate"][n % 2],
            "physician": f"Dr {n % 2}",
            "day": "20200101",
            "scanned": f"202001{n + 10}",
            "token": f"{73_519 + 91 * n}",
            "free": f"call {n}",
            "group": ["a", "b"][n % 2],
        }
        for n in range(20)
    ]
    fields = shown_fields(list(rows[0]), [Facts(rows=[row]) for row in rows])
    schema = schema_of(fields)
    assert set(schema.names) == {"nihss", "finding", "group"}
    assert schema["finding"].values == ("Edema", "Mass", "No Finding")
    assert schema["nihss"].kind == "continuous"
