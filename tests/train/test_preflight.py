import numpy as np
import pytest

from medsynth.core.geometry import Geometry
from medsynth.core.manifest import Scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.train.fold import TrainingFold
from medsynth.train.preflight import fold_warnings
from medsynth.train.train import train

GEOMETRY = Geometry((8, 8, 1), np.eye(4))


def fold(attribute, values, *, scans_each=1, num_steering=20):
    """Subjects of one attribute; the last ones steer."""
    people = [*values, *[values[0]] * num_steering]
    scans = tuple(
        Scan(
            scan_id=f"scan-{person}-{number}",
            subject_id=f"sub-{person}",
            path="",
            digest="",
            modality="MR",
            shape=GEOMETRY.spatial_shape,
            affine=tuple(GEOMETRY.affine.ravel().tolist()),
            dtype="float32",
            attributes={attribute.name: value},
            fold="train",
        )
        for person, value in enumerate(people)
        for number in range(scans_each)
    )
    steers = np.repeat(np.arange(len(people)) >= len(values), scans_each)
    volumes = np.zeros((len(scans), 8, 8, 1), np.float32)
    return TrainingFold(scans, volumes, steers, AttributeSchema((attribute,)))


SEX, AGE = Attribute("sex", "category"), Attribute("age", "continuous", "years")
FINDINGS = Attribute("findings", "labels")


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        (SEX, ["F", "M"] * 60),
        (SEX, ["F", "M", None] * 40),
        (AGE, [float(age) for age in range(120)]),
        (FINDINGS, ["a|b", "b", "a"] * 40),
    ],
)
def test_a_fold_that_suffices_is_passed_in_silence(attribute, values):
    assert fold_warnings(fold(attribute, values)) == ()


@pytest.mark.parametrize(
    ("attribute", "values", "warning"),
    [
        (SEX, [None] * 120, "sex is recorded of nobody"),
        (SEX, ["F"] * 120, "sex has the same value everywhere"),
        (SEX, ["F"] * 110 + ["M"] * 10, "sex: 1 of its 2 values are held by fewer than 11"),
        (SEX, [None] * 70 + ["F", "M"] * 25, "sex is missing in 58% of the scans"),
        (AGE, [1.0, 2.0, 3.0, 4.0] * 30, "age has fewer than 5 different numbers"),
        (FINDINGS, ["a|b", "a", "a|c", "b"] * 2 + ["a|b"] * 112, "findings: 1 of its 3 values"),
    ],
)
def test_what_is_thin_is_warned_of(attribute, values, warning):
    (said,) = fold_warnings(fold(attribute, values))
    assert said.startswith(warning)


def test_subjects_count_and_not_their_scans():
    said = fold_warnings(fold(SEX, ["F", "M"] * 20, scans_each=5, num_steering=3))
    assert said[0].startswith("only 40 subjects to learn from")
    assert said[1].startswith("only 3 subjects steer")
    rare = fold(SEX, ["F"] * 110 + ["M"] * 10, scans_each=5)
    assert "1 of its 2 values" in fold_warnings(rare)[0]


def test_warnings_come_before_the_first_step(tmp_path, prepared, tiny):
    reports = []

    class Stopped(Exception):
        pass

    def listen(report):
        reports.append(report)
        if report.step:
            raise Stopped

    with pytest.raises(Stopped):
        train(prepared(tmp_path), tmp_path, tiny, on_step=listen)
    assert any("subjects to learn from" in warning for warning in reports[0].warnings)
    assert [report.step for report in reports] == [0, 0, 2]
