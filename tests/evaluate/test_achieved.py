from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from medsynth.core.manifest import Manifest, Scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.evaluate.achieved import Achieved, achieve, read_achieved, write_achieved
from medsynth.sample.asked import AskedRow

SCHEMA = AttributeSchema((Attribute("age", "continuous"), Attribute("sex", "category")))
BARE = Scan("s", "s", "", "00", "MR", (8, 8, 1), tuple(np.eye(4).ravel()), "float32")


def manifest(*rows):
    """Scans of (age, sex) asked and (age, sex) read."""
    return Manifest(
        tuple(
            replace(
                BARE,
                scan_id=f"s{n}",
                attributes={"age": asked[0], "sex": asked[1]},
                measured={"age": read[0], "sex": read[1]} if read else {},
            )
            for n, (asked, read) in enumerate(rows)
        ),
        SCHEMA,
    )


def row(**terms):
    return AskedRow("plan", "", terms, 5.0, 5)


COHORT = manifest(
    ((30.0, "F"), (33.0, "F")),
    ((30.0, "F"), (61.0, "M")),
    ((60.0, "M"), (31.0, "F")),
    ((60.0, "M"), (66.0, "M")),
    ((60.0, None), (66.0, "F")),
)


def test_a_cell_is_counted_as_asked_and_as_read():
    found = achieve(row(sex="F"), COHORT)
    assert (found.asked, found.drawn, found.accepted) == (5.0, 5, 2)
    assert (found.n, found.read, found.num_asked, found.kept) == (4, 2, 2, 1)


def test_a_joint_cell_needs_every_term():
    found = achieve(row(sex="F", age=(20.0, 40.0)), COHORT)
    assert (found.accepted, found.n, found.read, found.kept) == (2, 4, 2, 1)
    found = achieve(row(sex="M", age=(60.0, 70.0)), COHORT)
    assert (found.accepted, found.read, found.kept) == (2, 2, 1)


def test_the_interval_is_wilsons():
    found = achieve(row(sex="F"), COHORT)
    z, n, p = norm.ppf(0.975), 4, 0.5
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (found.low, found.high) == pytest.approx((n * (middle - half), n * (middle + half)))


@pytest.mark.parametrize("terms", [{"sex": None}, {}, {"sex": "F", "age": None}])
def test_nobody_reads_that_a_value_is_missing(terms):
    assert achieve(row(**terms), COHORT).read is None


def test_without_a_reader_nothing_is_read():
    unread = manifest(((30.0, "F"), None), ((60.0, "M"), None))
    assert achieve(row(sex="F"), unread) == Achieved("plan", "", 5.0, 5, 1)


def test_rows_survive_their_file(tmp_path):
    rows = [achieve(row(sex="F"), COHORT), achieve(row(sex=None), COHORT)]
    write_achieved(tmp_path, rows)
    assert [*read_achieved(tmp_path)] == rows
