import json

import pytest

from medsynth.core.manifest import Manifest
from medsynth.core.stage import open_stage
from medsynth.evaluate.comparison import ComparisonConfig
from medsynth.evaluate.evaluate import EvaluateConfig, evaluate
from medsynth.evaluate.metrics import read_metrics
from medsynth.evaluate.readers import ReaderConfig

CONFIG = EvaluateConfig(
    reader=ReaderConfig(num_steps=140),
    comparison=ComparisonConfig(num_draws=20, max_pairs_from=20),
    num_draws=40,
)


@pytest.fixture(scope="module")
def evaluation(accepted, prepared, tmp_path_factory):
    return evaluate(accepted, prepared, tmp_path_factory.mktemp("out"), CONFIG)


def test_every_metric_has_value_floor_interval_and_count(evaluation):
    rows = json.loads((evaluation.path / "metrics.json").read_text())
    for row in rows.values():
        assert set(row) == {"value", "floor", "low", "high", "n"}
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] >= 20
    wanted = {"age_r", "age_mae", "sex_auc", "lesion_auc", "agreement_age", "agreement_sex"}
    assert wanted | {"mmd_reader", "mmd_frozen", "coverage", "similarity_ratio"} <= set(rows)


def test_fresh_phantoms_stand_at_the_floor(evaluation):
    metrics = read_metrics(evaluation.path)
    assert metrics["agreement_age"].value == pytest.approx(1, abs=0.15)
    assert metrics["mmd_frozen"].value < 0.05
    assert metrics["coverage"].value > 0.8
    assert metrics["similarity_ratio"].value == pytest.approx(1, abs=0.15)


def test_the_manifest_holds_the_accepted_scans_with_what_was_read(evaluation, accepted):
    read, asked = Manifest.read(evaluation.path), Manifest.read(accepted.path)
    assert read.root == asked.root
    errors = [abs(s.measured["age"] - s.attributes["age"]) for s in read]
    assert sum(errors) / len(errors) < 12
    assert {s.measured["sex"] for s in read} == {"F", "M"}


def test_the_stage_is_found_the_second_time(evaluation, accepted, prepared):
    again = evaluate(accepted, prepared, evaluation.path.parent, CONFIG)
    assert again.reused
    assert again == open_stage(evaluation.path)
