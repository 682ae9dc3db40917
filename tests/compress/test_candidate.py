import dataclasses

import numpy as np
import pytest
import torch

from medsynth.checkpoint import load_generator, read_json, save_generator
from medsynth.compress.candidate import Making
from medsynth.compress.config import CompressConfig
from medsynth.compress.distill import DistillConfig
from medsynth.compress.prune import PruneConfig
from medsynth.core.errors import UsageProblem
from medsynth.models.guidance import Guidance
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.drawing import sampler_of
from medsynth.sample.plan import Plan
from medsynth.train.report import unheard

QUICK = CompressConfig(
    distill=DistillConfig(num_ways=40, num_steps=4, batch=8, measured=(4, 1)),
    prune=PruneConfig(num_ways=40, num_steps=4, batch=8),
)


def making(source):
    return Making(source, SamplerConfig(3, "euler", Guidance(2.0)), QUICK, 1, 0)


@pytest.mark.parametrize(
    ("by", "dtype", "most"), [("bf16", torch.bfloat16, 0.05), ("int8", torch.float32, 0.1)]
)
def test_fewer_bits_draw_almost_the_same_scans(teacher, requests, tmp_path, by, dtype, most):
    ours = making(teacher)
    made = ours.make(by, tmp_path, unheard)
    save_generator(tmp_path, made, prepared_digest="")
    loaded = load_generator(tmp_path)
    assert loaded.precision == read_json(tmp_path / "generator.json")["precision"] == by
    assert next(loaded.synthesizer.denoiser.parameters()).dtype == dtype
    assert list(ours.settings(by)) == [by]
    drawn, exact = (g.draw(requests[:4], range(4), seed=0, how=ours.how) for g in (loaded, teacher))
    assert drawn.dtype == np.float32
    assert 0 < np.abs(drawn - exact).mean() < most * exact.std()


def test_what_was_loaded_is_saved_to_the_same_bits(teacher, tmp_path):
    for by in ("bf16", "int8"):
        first, second = tmp_path / by, tmp_path / f"{by}-again"
        for folder in (first, second):
            folder.mkdir()
        save_generator(first, dataclasses.replace(teacher, precision=by), prepared_digest="")
        save_generator(second, load_generator(first), prepared_digest="")
        for name in ("autoencoder", "encoder"):
            file = f"{name}.safetensors"
            a, b = ((folder / file).stat().st_size for folder in (first, second))
            assert a == b


def test_a_student_is_tried_with_each_number_of_steps_and_leaps_by_itself(teacher, tmp_path):
    ours = making(teacher)
    made = ours.make("distill", tmp_path, unheard)
    settings = ours.settings("distill")
    assert list(settings) == ["1 step", "4 steps"]
    assert {how.method for how in settings.values()} == {"shortcut"}
    how = sampler_of(made, Plan(num_steps=2))
    assert made.synthesizer.method_of(how) == "shortcut"
    with pytest.raises(UsageProblem, match="the plan: a distilled generator has its guidance"):
        sampler_of(made, Plan(num_steps=2, guidance=1.5))
    with pytest.raises(UsageProblem, match="not yet distilled"):
        making(made).make("distill", tmp_path, unheard)


def test_a_pruned_generator_is_smaller_and_comes_back_from_disk(teacher, requests, tmp_path):
    made = making(teacher).make("prune", tmp_path, unheard)
    save_generator(tmp_path, made, prepared_digest="")
    loaded = load_generator(tmp_path)
    config = loaded.synthesizer.denoiser.config
    assert (config.channels, config.norm_groups, config.time_features) == ((8, 16), 4, 16)
    how = SamplerConfig(3, guidance=Guidance(2.0))
    drawn, again = (g.draw(requests[:2], range(2), seed=0, how=how) for g in (made, loaded))
    np.testing.assert_array_equal(drawn, again)


def test_what_runs_in_bf16_learns_no_further(teacher, tmp_path):
    halved = dataclasses.replace(teacher, precision="bf16")
    with pytest.raises(UsageProblem, match="compress its fp32 source"):
        making(halved).make("prune", tmp_path, unheard)


def test_only_a_flow_is_distilled(teacher, tmp_path):
    other = dataclasses.replace(teacher.synthesizer, objective=Objective.of("v"))
    with pytest.raises(UsageProblem, match="only a flow"):
        making(dataclasses.replace(teacher, synthesizer=other)).make("distill", tmp_path, unheard)
