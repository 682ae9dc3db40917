import json

import numpy as np
import pytest

from medsynth.checkpoint import load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import open_stage
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.cohort import redraw_for, sample
from medsynth.sample.plan import Plan

PLAN = Plan(count=35, seed=4, num_steps=2)
HOW = SamplerConfig(2)


def test_a_cohort_is_whole_and_holds_its_plan(tmp_path, checkpoint):
    seen = []
    cohort = sample(checkpoint, tmp_path, PLAN, progress=lambda *at: seen.append(at))
    manifest = Manifest.read(open_stage(cohort.path).path)
    plan = json.loads((cohort.path / "plan.json").read_text())
    assert len(manifest) == len(manifest.subjects) == 35
    assert plan["plan"]["seed"] == 4
    for scan, request in zip(manifest, plan["requests"], strict=True):
        assert scan.scan_id == request["scan_id"]
        assert dict(scan.attributes) == request["attributes"]
        assert (scan.fold, scan.modality, scan.dtype) == (None, "MR", "float32")
    assert seen[-1] == (35, 35)


def test_every_scan_can_be_made_again_alone(tmp_path, checkpoint):
    cohort = sample(checkpoint, tmp_path, PLAN)
    scans = Manifest.read(cohort.path).scans
    alone = load_generator(checkpoint.path).draw([scans[33].attributes], [33], seed=4, how=HOW)
    assert np.array_equal(alone, load_arrays(cohort.path, scans[33:34]))


def test_the_same_plan_is_found_and_another_seed_is_not(tmp_path, checkpoint):
    first = sample(checkpoint, tmp_path, PLAN)
    assert sample(checkpoint, tmp_path, PLAN).reused
    other = sample(checkpoint, tmp_path, PLAN.model_copy(update={"seed": 5}))
    assert not other.reused
    assert other.digest != first.digest


def test_a_smaller_cohort_is_the_beginning_of_a_larger_one(tmp_path, checkpoint):
    large = sample(checkpoint, tmp_path / "a", PLAN)
    small = sample(checkpoint, tmp_path / "b", PLAN.model_copy(update={"count": 5}))
    ours, theirs = (Manifest.read(c.path).scans[:5] for c in (large, small))
    assert [scan.digest for scan in ours] == [scan.digest for scan in theirs]


def test_fresh_scans_come_from_indices_never_used(checkpoint):
    redraw = redraw_for(checkpoint.path, PLAN)
    requests = [{"age": 50.0, "sex": "F"}] * 2
    generator = load_generator(checkpoint.path)
    draws = [redraw(requests, attempt) for attempt in (1, 2)]
    assert not np.array_equal(*draws)
    expected = generator.draw(requests, [70, 71], seed=4, how=HOW)
    assert np.array_equal(draws[1], expected)
    with pytest.raises(ValueError, match="attempt"):
        redraw(requests, 0)


def test_a_refused_plan_leaves_no_cohort(tmp_path, checkpoint):
    with pytest.raises(UsageProblem, match="sex"):
        sample(checkpoint, tmp_path, Plan(where="sex=X"))
    assert not (tmp_path / "cohort").exists()
