import json

import pytest

from medsynth.core.manifest import Manifest
from medsynth.core.stage import Request, open_stage, produce
from medsynth.evaluate.achieved import read_achieved
from medsynth.evaluate.comparison import ComparisonConfig
from medsynth.evaluate.evaluate import EvaluateConfig, evaluate
from medsynth.evaluate.metrics import read_metrics
from medsynth.evaluate.readers import ReaderConfig
from medsynth.evaluate.two_sample import TwoSampleConfig
from medsynth.sample.asked import AskedRow

CONFIG = EvaluateConfig(
    reader=ReaderConfig(num_steps=140),
    comparison=ComparisonConfig(
        num_draws=20,
        max_pairs_from=20,
        two_sample=TwoSampleConfig(num_steps=30, num_folds=2, widths=(8, 16)),
    ),
    num_draws=40,
)


@pytest.fixture(scope="module")
def evaluation(accepted, prepared, tmp_path_factory):
    return evaluate(accepted, prepared, tmp_path_factory.mktemp("out"), CONFIG)


def test_every_metric_has_value_floor_interval_and_count(evaluation):
    rows = json.loads((evaluation.path / "metrics.json").read_text())
    for name, row in rows.items():
        assert set(row) == {"value", "floor", "low", "high", "n"}
        if name.startswith("obeyed_"):
            assert (row["value"], row["floor"]) == (1, 1)
            continue
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] >= 20
    wanted = {"age_r", "age_mae", "sex_auc", "lesion_auc", "agreement_age", "agreement_sex"}
    assert wanted | {"mmd_reader", "mmd_frozen", "coverage", "two_sample_auc"} <= set(rows)


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


def test_what_was_asked_stands_beside_what_was_read(accepted, prepared, tmp_path):
    """The cohort that says what was asked is one of its own, with two scans that never passed."""
    women = [s for s in Manifest.read(accepted.path) if s.attributes["sex"] == "F"]
    row = AskedRow("plan", "sex=F", {"sex": "F"}, len(women) + 2.0, len(women) + 2)
    told = json.dumps({"asked": [row.to_json()]})
    cohort = produce(
        tmp_path,
        Request("cohort", {}, {}, "test"),
        lambda folder: (folder / "plan.json").write_text(told) and None,
    )
    stage = evaluate(accepted, prepared, tmp_path, CONFIG, cohort=cohort)
    (found,) = read_achieved(stage.path)
    assert stage.receipt["parents"]["cohort"] == cohort.digest
    assert (found.asked, found.accepted, found.n) == (len(women) + 2, len(women), 100)
    assert found.kept > 0.8 * found.num_asked
    assert found.low < len(women) < found.high


def test_with_a_checkpoint_its_autoencoder_is_measured_by_itself(
    accepted, prepared, checkpoint, tmp_path
):
    """Nothing was learned, so anybody can tell what comes out of it; the cohort knows no such."""
    two_sample = TwoSampleConfig(num_steps=30, num_folds=2, widths=(8,), num_draws=10)
    config = EvaluateConfig(
        reader=ReaderConfig(num_steps=2, widths=(8,)),
        comparison=ComparisonConfig(num_draws=4, max_pairs_from=6, two_sample=two_sample),
        num_draws=4,
    )
    stage = evaluate(accepted, prepared, tmp_path, config, checkpoint=checkpoint)
    metrics = read_metrics(stage.path)
    assert metrics["round_trip_two_sample_auc"].value > 0.95
    assert metrics["round_trip_coverage"].value < 0.2 < metrics["coverage"].value
    assert stage.receipt["parents"]["checkpoint"] == checkpoint.digest
