"""The effects of an attribute: known ones are found, none are invented."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.core.views import STEPS, Views
from medsynth.evaluate.comparison import ComparisonConfig
from medsynth.evaluate.effects import FEWEST, mean_interval, measure_effects, read_effects
from medsynth.evaluate.evaluate import EvaluateConfig, evaluate
from medsynth.evaluate.metrics import read_metrics
from medsynth.evaluate.readers import Network, ReaderConfig, Readers
from medsynth.evaluate.targets import Target
from medsynth.ingest.phantom import draw_phantom

SIZE = 32
NAMES = ("age", "sex", "lesion")


def _shown(
    out: Path,
    schema: AttributeSchema,
    changed: str,
    columns: Sequence[Sequence[tuple[Attributes, np.ndarray]]],
    stage: str = "shown",
) -> Artifact:
    """A stage of views: each column a list of requests and scans."""

    def build(folder: Path) -> None:
        scans, groups = [], []
        for number, column in enumerate(columns):
            names = [f"{stage}-{number:03d}-{place}" for place in range(len(column))]
            for name, (asked, voxels) in zip(names, column, strict=True):
                volume = Volume(voxels[None], Geometry(voxels.shape, np.eye(4)))
                scans.append(
                    store_scan(
                        folder,
                        volume,
                        scan_id=name,
                        subject_id=name,
                        modality="MR",
                        attributes=asked,
                    )
                )
            groups.append(tuple(names))
        Manifest(tuple(scans), schema).write(folder)
        Views({changed: tuple(groups), "empty": (), STEPS: (groups[0],)}).write(folder)

    return produce(out, Request(stage, {}, {"of": changed}, "test"), build)


def _phantom(seed: int, **asked: object) -> np.ndarray:
    lesion = asked["lesion"] == "yes"
    plane = draw_phantom(
        np.random.default_rng(seed), age=float(asked["age"]), sex=asked["sex"], lesion=lesion,
        size=SIZE,
    )  # fmt: skip
    return plane[::-1, ::-1].T[..., None].astype(np.float32)


def _lesion_columns(*, leaks: bool) -> list[list[tuple[Attributes, np.ndarray]]]:
    """Fifteen noises without and with a lesion; a generator that leaks changes the sex, too."""
    columns = []
    for seed in range(15):
        asked = {"age": 50.0, "sex": "F", "lesion": "no"}
        drawn = asked | {"lesion": "yes"} | ({"sex": "M"} if leaks else {})
        last = (asked | {"lesion": "yes"}, _phantom(seed, **drawn))
        columns.append([(asked, _phantom(seed, **asked)), last])
    return columns


def _measured(folder, readers, names=NAMES):
    found = measure_effects(folder, readers, names, np.random.default_rng(0))
    return {(effect.read, effect.value): effect for effect in found}


def test_what_is_asked_for_changes_and_nothing_else_does(schema, trained, tmp_path):
    shown = _shown(tmp_path, schema, "lesion", _lesion_columns(leaks=False))
    found = _measured(shown.path, trained)
    assert set(found) == {("age", ""), ("lesion", "yes")}  # nobody asks for a man
    lesion, age = found["lesion", "yes"], found["age", ""]
    assert (lesion.first, lesion.last, lesion.asked, lesion.num_pairs) == ("no", "yes", 1.0, 15)
    assert 0.4 < lesion.low < lesion.mean < lesion.high <= 1
    assert lesion.is_on_target
    assert not lesion.is_astray
    assert (age.asked, age.unit) == (0.0, "years")
    assert abs(age.mean) < 5


def test_a_generator_that_changes_the_sex_with_the_lesion_is_found(schema, trained, tmp_path):
    columns = _lesion_columns(leaks=True)
    columns[0] = [(asked | {"sex": "M"}, scan) for asked, scan in columns[0]]
    found = _measured(_shown(tmp_path, schema, "lesion", columns).path, trained)
    assert found["sex", "M"].is_astray
    assert found["sex", "M"].low > 0.3
    assert found["sex", "M"].asked == 0


def test_equal_scans_change_nothing_bit_for_bit(schema, trained, tmp_path):
    columns = [[first, (last[0], first[1])] for first, last in _lesion_columns(leaks=False)]
    for effect in _measured(_shown(tmp_path, schema, "lesion", columns).path, trained).values():
        assert (effect.mean, effect.low, effect.high) == (0, 0, 0)
        assert not effect.is_astray


def test_what_cannot_be_read_off_real_scans_has_no_column(schema, trained, tmp_path):
    shown = _shown(tmp_path, schema, "lesion", _lesion_columns(leaks=False))
    assert set(_measured(shown.path, trained, ("lesion",))) == {("lesion", "yes")}


class _Gray(Network):
    """Reads everything off the mean gray g, in [0, 1], of a scan: outputs are as given of g."""

    def __init__(self, targets, of):
        super().__init__(targets, ReaderConfig(widths=(8,), num_features=4), is_3d=False)
        self.of = of

    def forward(self, x):
        gray = (x.flatten(1).mean(1) + 1) / 2
        return {name: torch.stack(rule(gray), 1) for name, rule in self.of.items()}


GRAY = AttributeSchema(
    (
        Attribute("age", "continuous", "years"),
        Attribute("grade", "ordinal", values=("I", "II", "III")),
        Attribute("view", "category", values=("AP", "PA", "LL")),
        Attribute("finding", "labels", values=("cyst", "mass")),
    )
)


def test_every_kind_is_told_in_its_own_unit(tmp_path):
    """Gray goes from .25 to .75: twenty years, a step of the grade, another view, half a cyst."""
    targets = (
        Target(GRAY.attributes[0], mean=50.0, sd=10.0),
        Target(GRAY.attributes[1], ("I", "II", "III"), weights=(1.0,) * 3),
        Target(GRAY.attributes[2], ("AP", "PA", "LL"), weights=(1.0,) * 3),
        Target(GRAY.attributes[3], ("cyst", "mass"), weights=(4.0, 1.0)),
    )
    far = 40.0
    of = {
        "age": lambda g: [4 * g - 2],
        "grade": lambda g: [far * (0.5 - g), far * (g - 0.5), 0 * g - far],
        "view": lambda g: [far * (g - 0.5), far * (0.5 - g), 0 * g - far],
        "finding": lambda g: [2 * far * (g - 0.75) + np.log(4.0), 0 * g - far],
    }
    asked = {"age": 40.0, "grade": "I", "view": "AP", "finding": "cyst|mass"}
    column = [
        (asked | {"grade": value}, np.full((5, 7, 1), gray, np.float32))
        for value, gray in (("I", 0.25), ("II", 0.6), ("III", 0.75))
    ]
    shown = _shown(tmp_path, GRAY, "grade", [column] * FEWEST)
    found = _measured(shown.path, Readers(targets, _Gray(targets, of)), GRAY.names)
    means = {key: (effect.mean, effect.asked) for key, effect in found.items()}
    expected = {
        ("age", ""): (20.0, 0),
        ("grade", ""): (1.0, 2.0),
        ("view", "AP"): (1.0, 0),
        ("finding", "cyst"): (0.5, 0),
        ("finding", "mass"): (0.0, 0),
    }
    assert set(means) == set(expected)
    for key, pair in expected.items():
        assert means[key] == pytest.approx(pair, abs=1e-3)
    assert found["grade", ""].unit == "steps"
    assert found["view", "AP"].name == "effect_grade_on_view_AP"


@pytest.mark.parametrize("n", [FEWEST, 15])
def test_one_innocent_change_in_twenty_lies_outside_its_interval(n):
    rng = np.random.default_rng(1)
    ends = [mean_interval(rng.standard_normal(n), rng) for _ in range(300)]
    assert np.mean([low > 0 or high < 0 for low, high in ends]) == pytest.approx(0.05, abs=0.035)


def test_few_pairs_bear_no_interval_and_are_never_marked(schema, trained, tmp_path):
    columns = _lesion_columns(leaks=True)[: FEWEST - 1]
    for effect in _measured(_shown(tmp_path, schema, "lesion", columns).path, trained).values():
        assert (effect.low, effect.high, effect.num_pairs) == (None, None, FEWEST - 1)
        assert not effect.is_astray


CONFIG = EvaluateConfig(
    reader=ReaderConfig(num_steps=60, widths=(8, 16)),
    comparison=ComparisonConfig(min_compared=1000),
    num_draws=40,
)


def test_the_stage_holds_them_and_its_metrics_are_the_same(schema, accepted, prepared, tmp_path):
    shown = _shown(tmp_path / "in", schema, "lesion", _lesion_columns(leaks=False))
    plain = evaluate(accepted, prepared, tmp_path / "plain", CONFIG)
    stage = evaluate(accepted, prepared, tmp_path / "seen", CONFIG, shown=shown)
    assert stage.receipt["parents"]["shown"] == shown.digest
    assert read_metrics(stage.path) == read_metrics(plain.path)
    effects = read_effects(stage.path)
    assert {effect.changed for effect in effects} == {"lesion"}
    assert json.loads((stage.path / "effects.json").read_text())[0]["num_pairs"] == 15
    assert read_effects(plain.path) == ()


def test_views_that_nobody_screened_are_refused(schema, accepted, prepared, tmp_path):
    views = _shown(tmp_path, schema, "lesion", _lesion_columns(leaks=False), stage="views")
    with pytest.raises(UsageProblem, match="stage shown/, got views/"):
        evaluate(accepted, prepared, tmp_path, CONFIG, shown=views)
