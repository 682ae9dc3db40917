import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from medsynth.checkpoint import load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import Artifact, open_stage
from medsynth.ingest.workers import Processes
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import SamplerConfig, Synthesizer
from medsynth.sample.asked import PLAN as PLANNED
from medsynth.sample.asked import read_asked
from medsynth.sample.cohort import redraw_for, sample
from medsynth.sample.drawing import sampler_of
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


def by_id(cohort):
    return {s.scan_id: (s.digest, dict(s.attributes)) for s in Manifest.read(cohort.path)}


JOINT = Plan(
    seed=4,
    num_steps=2,
    cells=[{"where": "sex=F age=60..79", "count": 30}, {"where": "sex=M", "count": 20}],
)


@pytest.mark.parametrize("plan", [PLAN, JOINT], ids=["where", "cells"])
def test_scans_drawn_alone_are_those_of_the_whole_cohort(tmp_path, checkpoint, plan):
    whole = sample(checkpoint, tmp_path, plan)
    excerpt = sample(checkpoint, tmp_path, plan, indices=[33, 0, 17, 33])
    assert excerpt.path == tmp_path / "excerpt"
    alone = by_id(excerpt)
    assert sorted(alone) == ["syn-000000", "syn-000017", "syn-000033"]
    assert alone.items() <= by_id(whole).items()
    assert open_stage(whole.path).digest == whole.digest


def test_the_network_sees_the_same_batch_size_and_threads_every_time(tmp_path, checkpoint):
    """One scan, 32 and 35 make batches of one size; threads of the process do not matter."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        cohort = sample(checkpoint, tmp_path, PLAN)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        again = sample(checkpoint, tmp_path / "b", PLAN)
    finally:
        torch.set_num_threads(before)
    assert by_id(again) == by_id(cohort)
    told = json.loads((cohort.path / "plan.json").read_text())["drawn_with"]
    assert told["micro_batch"] == load_generator(checkpoint.path).batch == 32
    assert (told["threads"], told["dtype"], told["device"]) == (1, "torch.float32", "cpu")
    assert cohort.receipt["config"]["drawn_with"] == told


def test_the_network_runs_with_the_plans_threads_and_whole_batches(
    tmp_path, checkpoint, monkeypatch
):
    seen = []
    plain = Synthesizer._draw

    def watched(self, requests, *rest):
        seen.append((len(requests), torch.get_num_threads()))
        return plain(self, requests, *rest)

    monkeypatch.setattr(Synthesizer, "_draw", watched)
    sample(checkpoint, tmp_path, Plan(count=35, num_steps=1, threads=3))
    sample(checkpoint, tmp_path, Plan(count=35, num_steps=1), indices=[34])
    assert seen == [(32, 3), (32, 3), (32, 1)]


class _Backwards:
    """Workers that do the chunks in reverse order, and die over every second one."""

    def map(self, function, chunks):
        found = {n: function(chunk) for n, chunk in [*enumerate(chunks)][::-1] if n % 2}
        return iter([found.get(n) for n in range(len(chunks))])


def test_order_and_loss_of_workers_change_nothing(tmp_path, checkpoint):
    plan = Plan(count=70, num_steps=1)
    here = sample(checkpoint, tmp_path / "a", plan)
    there = sample(checkpoint, tmp_path / "b", plan, workers=_Backwards())
    assert there == Artifact(there.path, here.digest)


def test_processes_make_the_same_stage_byte_for_byte(tmp_path, checkpoint):
    plan = JOINT.model_copy(update={"num_steps": 1})
    here = sample(checkpoint, tmp_path / "a", plan)
    with Processes(2) as workers:
        there = sample(checkpoint, tmp_path / "b", plan, workers=workers)
    assert there.digest == here.digest


@pytest.mark.parametrize("indices", [[35], [-1], [3, 400]])
def test_an_index_outside_of_the_plan_is_refused(tmp_path, checkpoint, indices):
    with pytest.raises(UsageProblem, match=r"0\.\.34"):
        sample(checkpoint, tmp_path, PLAN, indices=indices)


def test_what_was_asked_stands_beside_what_was_drawn(tmp_path, checkpoint):
    rows = read_asked(sample(checkpoint, tmp_path, JOINT).path)
    planned = [(row.where, row.asked, row.drawn) for row in rows if row.of == PLANNED]
    assert planned == [("sex=F age=60..79", 30, 30), ("sex=M", 20, 20)]
    sexes = [(row.where, row.asked, row.drawn) for row in rows if row.of == "sex"]
    assert sexes == [("sex==F", 30, 30), ("sex==M", 20, 20)]
    ages = [row for row in rows if row.of == "age"]
    assert sum(row.asked for row in ages) == pytest.approx(50, abs=0.1)
    assert sum(row.drawn for row in ages) == 50


def test_a_table_leaves_its_cells_and_no_path(tmp_path, checkpoint):
    (tmp_path / "ward.csv").write_text("sex\n" + "F\n" * 30 + "M\n" * 10 + "O\n" * 5)
    plan = Plan(count=8, num_steps=1, like=str(tmp_path / "ward.csv"))
    cohort = sample(checkpoint, tmp_path, plan, k_min=10)
    told = (cohort.path / "plan.json").read_text()
    assert "ward" not in told + (cohort.path / "receipt.json").read_text()
    assert json.loads(told)["share_of_table"] == 0.89
    assert [s.attributes["sex"] for s in Manifest.read(cohort.path)].count("F") == 6
    settled = Plan.model_validate(json.loads(told)["plan"])
    assert redraw_for(checkpoint.path, settled, 10)([{"age": 50.0, "sex": "F"}], 1).shape[0] == 1
    assert sample(checkpoint, tmp_path, plan, k_min=10).reused


def test_every_setting_of_the_sampler_counts(tmp_path, checkpoint):
    plain = Plan(count=2, num_steps=2, guidance=2.0)
    changes = {
        "method": "heun",
        "guidance_by": {"sex": 4.0},
        "guidance_interval": (0.0, 1.0),
        "guidance_rescale": 0.7,
        "negative": {"sex": "M"},
    }
    plans = [plain] + [plain.model_copy(update={name: v}) for name, v in changes.items()]
    found = [by_id(sample(checkpoint, tmp_path, plan))["syn-000000"][0] for plan in plans]
    assert len(set(found)) == len(plans)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"guidance_by": {"height": 2.0}}, "height"),
        ({"negative": {"sex": "Q"}}, "sex must be one of"),
        ({"guidance_interval": (0.9, 0.1)}, "low <= high"),
    ],
)
def test_what_the_generator_cannot_do_is_refused_before_it_begins(
    tmp_path, checkpoint, fields, words
):
    with pytest.raises(UsageProblem, match=words):
        sample(checkpoint, tmp_path, Plan(count=2, **fields))
    assert not (tmp_path / "cohort").exists()


def test_a_rule_that_the_objective_has_not_is_refused(checkpoint):
    generator = load_generator(checkpoint.path)
    other = replace(generator.synthesizer, objective=Objective.of("v"))
    with pytest.raises(UsageProblem, match="euler steps along the flow"):
        sampler_of(replace(generator, synthesizer=other), Plan(method="euler"))
    assert sampler_of(generator, Plan(method="euler")).method == "euler"
