import numpy as np
import pytest

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import count_cells
from medsynth.sample.terms import Restriction, exactly, parse_where, write_where

SCHEMA = AttributeSchema(
    (
        Attribute("volume", "continuous", "ml", scale="log"),
        Attribute("vendor", "category"),
        Attribute("finding", "labels"),
        Attribute("note", "text"),
    )
)


@pytest.fixture
def cells(rng):
    rows = [
        {
            "volume": round(float(volume), 2),
            "vendor": ["GE Medical", "O'Neil | Sons"][i % 2],
            "finding": ["cyst", "cyst|lesion", None][i % 3],
            "note": f"seen on day {i}",
        }
        for i, volume in enumerate(rng.lognormal(-0.3, 0.5, 300))
    ]
    return count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(300)])


def test_what_is_written_is_read_as_the_same(cells):
    for block in cells.blocks:
        for cell in block:
            terms = {name: exactly(where) for name, where in cell.bins.items()}
            text = write_where(terms, cells.steps)
            assert parse_where(text, SCHEMA, cells).terms == terms


def test_whole_bins_come_back_whole_after_they_were_written(cells):
    """Else a bin would hold fewer people for sure than it does."""
    for low, high in {cell.bins["volume"] for block in cells.blocks for cell in block} - {None}:
        again = parse_where(write_where({"volume": (low, high)}, cells.steps), SCHEMA, cells)
        assert again.terms["volume"] == (low, high)


def test_words_with_blanks_stand_in_quotes(cells):
    found = parse_where("vendor='GE Medical' finding=cyst", SCHEMA, cells)
    assert found.terms == {"vendor": "GE Medical", "finding": "cyst"}
    with pytest.raises(UsageProblem, match="quotation mark"):
        parse_where("vendor='GE Medical", SCHEMA, cells)


def test_a_label_is_in_every_set_that_holds_it_and_alone_only_by_itself(cells):
    rows = [{"finding": f} for f in ("cyst", "cyst|lesion", "lesion", None)]
    for term, held in [("cyst", [1, 1, 0, 0]), ("=cyst", [1, 0, 0, 0]), (None, [0, 0, 0, 1])]:
        restriction = Restriction({"finding": term})
        assert [restriction.admits(row, SCHEMA) for row in rows] == list(map(bool, held))
        shares = {
            cell.bins["finding"]: restriction.share(cell, SCHEMA["finding"])[0]
            for block in cells.blocks
            for cell in block
            if "finding" in cell.bins
        }
        assert [shares.get(row["finding"], held[2]) for row in rows] == held


def test_texts_have_no_cells_and_are_not_asked_for(cells):
    assert all("note" not in cell.bins for block in cells.blocks for cell in block)
    assert not cells.bins_of("note")
    with pytest.raises(UsageProblem, match="note of kind text"):
        parse_where("note='seen on day 3'", SCHEMA, cells)


def test_a_number_is_inside_from_its_low_end_up_to_its_high_end(cells):
    """Requests are whole tenths here, so what is read as 0.96 counts as 0.9."""
    assert cells.steps["volume"] == 0.1
    restriction = parse_where("volume=0.5..0.9", SCHEMA, cells)
    values = (np.arange(40, 120) / 100).tolist()
    inside = [v for v in values if restriction.admits({"volume": v}, SCHEMA)]
    assert (min(inside), max(inside)) == (0.5, 0.99)
    assert not restriction.admits({"volume": None}, SCHEMA)
