"""The schema of an archive: declared, completed by the data, and reported without raw values."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from medsynth.core.errors import UsageProblem
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.facts.attributes import TAGS, Facts
from medsynth.ingest.facts.report import attribute_report
from medsynth.ingest.facts.schema import attributes_of, declared_fields, schema_of, shown_fields


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


@pytest.mark.parametrize("source", ["PatientName", ("PatientAge", "nowhere")])
def test_an_undeclared_source_is_refused(source):
    with pytest.raises(UsageProblem, match="DICOM tags"):
        declared_fields({"name": AttributeSource(source=source)}, ["age"], [])


def test_a_declaration_is_completed_by_the_data_rounded_outward():
    facts = [Facts(rows=[{"mm3": value}]) for value in ("1234.5", "4321.9", "")]
    [field] = declared_fields({"mm3": AttributeSource(unit="mm3")}, ["mm3"], facts)
    assert (field.attribute.low, field.attribute.high) == (1200, 4400)


def test_a_range_is_completed_in_the_declared_unit_over_all_sources():
    facts = [Facts([{"EchoTime": "90"}]), Facts(rows=[{"te": "0.02 s"}])]
    declared = {"te": AttributeSource(source=("te", "EchoTime"), unit="s")}
    [field] = declared_fields(declared, ["te"], facts)
    assert (field.attribute.low, field.attribute.high) == (0.02, 0.09)
    assert [attributes_of([field], fact)[0]["te"] for fact in facts] == [0.09, 0.02]


def test_a_column_under_another_name_has_the_attributes_normal_form():
    declared = {"sex": AttributeSource(kind="category", source="geschlecht", values=("F", "M"))}
    facts = Facts(rows=[{"geschlecht": "weiblich"}])
    fields = declared_fields(declared, ["geschlecht"], [facts])
    assert attributes_of(fields, facts)[0] == {"sex": "F"}


def test_columns_of_tables_that_lie_with_subjects_can_be_declared():
    facts = [Facts(rows=[{"moca": "20"}]), Facts()]
    [field] = declared_fields({"moca": AttributeSource()}, [], facts)
    assert field.origins[0].kind == "column"


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


def test_any_name_of_a_column_becomes_an_identifier():
    names = ("größe in m²", "½", "年齢", "a--b", "2nd")
    rows = [{name: str(n % 2) + "x" for name in names} for n in range(4)]
    fields = shown_fields(names, [Facts(rows=[row]) for row in rows])
    wanted = {"größe_in_m", "column_", "年齢", "a_b", "column_2nd"}
    assert {field.attribute.name for field in fields} == wanted


def test_the_report_counts_states_origins_and_normal_forms():
    facts = [
        Facts([{"Manufacturer": "SIEMENS"}]),
        Facts([{"Manufacturer": "Siemens Healthineers"}]),
        Facts([{"Manufacturer": "Dr. Jane Doe's scanner"}]),
        Facts([{"Manufacturer": "GE"}, {"Manufacturer": "Philips"}]),
        Facts(),
    ]
    fields = declared_fields({"vendor": AttributeSource(kind="category")}, [], facts)
    report = attribute_report(fields, facts)["vendor"]
    assert report["values"] == {
        "Siemens": {"scans": 2, "spellings": 2},
        "other": {"scans": 1, "spellings": 1},
    }
    assert (report["missing"], report["ambiguous"], report["from"]) == (2, 1, {"tag": 3})
    assert "Jane" not in json.dumps(report)


def test_the_report_counts_contradictions_and_refusals():
    facts = [
        Facts([{"PatientAge": "050Y"}], [{"age": "70"}]),
        Facts(rows=[{"age": "old"}]),
        Facts([{"PatientAge": "095Y"}], [{"age": ""}]),
    ]
    declared = {"age": AttributeSource(source=("age", "PatientAge"), low=0, high=89)}
    report = attribute_report(declared_fields(declared, ["age"], facts), facts)["age"]
    assert (report["missing"], report["conflict"], report["refused"]) == (2, 1, 1)
    assert (report["top_coded"], report["from"]) == (1, {"tag": 1})


def test_the_examples_of_the_page_are_configurations():
    text = (Path(__file__).parents[2] / "docs/how-to/attributes.md").read_text()
    examples = [tomllib.loads(found) for found in re.findall(r"```toml\n(.*?)```", text, re.S)]
    assert len(examples) == 2
    for example in examples:
        config = IngestConfig(**example.get("ingest", {}), attributes=example["attributes"])
        fields = declared_fields(config.attributes, ["age", "weight"], [])
        assert schema_of(fields).names == tuple(example["attributes"])


def test_every_tag_that_the_page_names_can_be_a_source():
    text = (Path(__file__).parents[2] / "docs/how-to/attributes.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith("| a DICOM keyword")]
    assert set(re.findall(r"`(\w+)`", row)) <= set(TAGS)
