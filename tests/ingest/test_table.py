"""The table says what no header carries, and which files are scans."""

import pytest

from medsynth.core.errors import UsageProblem
from medsynth.ingest.facts.table import find_table, read_table


def table(tmp_path, text, name="t.csv", join=(), subject=""):
    (tmp_path / name).write_text(text)
    return read_table(tmp_path / name, join=join, subject=subject)


def test_rows_join_by_every_dicom_key_that_the_table_has(tmp_path):
    found = table(tmp_path, "PatientID,AccessionNumber,x\nP,A,1\nP,B,2\n")
    assert found.join == ("PatientID", "AccessionNumber")
    assert [row["x"] for row in found.rows_of({"PatientID": "P", "AccessionNumber": "B"})] == ["2"]
    assert found.rows_of({"PatientID": "P", "AccessionNumber": ""}) == []


def test_an_image_column_alone_is_the_key(tmp_path):
    found = table(tmp_path, "image,patient_id,x\na.png,P,1\n")
    assert (found.join, found.subject_column) == (("image",), "patient_id")
    assert found.images == (tmp_path / "a.png",)


def test_tsv_and_byte_order_marks_are_read(tmp_path):
    found = table(tmp_path, "\ufeffparticipant_id\tage\nsub-01\t30\n", "participants.tsv")
    assert found.columns == ("participant_id", "age")
    assert find_table(tmp_path) == tmp_path / "participants.tsv"


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n", "a,b\n1\n"])
def test_a_broken_table_is_one_clear_sentence(tmp_path, text):
    with pytest.raises(UsageProblem, match="the table"):
        table(tmp_path, text)


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageProblem, match="no column who"):
        table(tmp_path, "a\n1\n", join=("who",))
