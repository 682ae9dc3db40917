import dataclasses

import numpy as np
import pytest
import torch

from medsynth.compress.distill import NUM_POINTS, DistillConfig, Leaps, distill, spanned
from medsynth.compress.ways import WAY_SEEDS, Ways, draw_ways
from medsynth.models.guidance import Guidance
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import SamplerConfig
from medsynth.train.report import unheard

HOW = SamplerConfig(NUM_POINTS, guidance=Guidance(2.0))
QUICK = DistillConfig(num_ways=40, num_steps=80, batch=16, learning_rate=2e-3)


@pytest.fixture(scope="module")
def ways(teacher, requests):
    return draw_ways(teacher, requests, 3, HOW)


def student_of(teacher, **changes):
    return dataclasses.replace(
        teacher, synthesizer=dataclasses.replace(teacher.synthesizer, **changes)
    )


def test_a_way_ends_where_the_teacher_draws(teacher, requests, ways):
    ours = teacher.synthesizer
    assert ways.points.shape == (40, NUM_POINTS + 1, *ours.latent_shape)
    with torch.inference_mode():
        ends = ours.autoencoder.decode(ours.scale.undo(ways.points[:4, -1]))
    drawn = teacher.draw(requests[:4], range(4), seed=WAY_SEEDS + 3, how=HOW)
    np.testing.assert_allclose(ours.frame.to_volumes(ends), drawn, atol=1e-4)


def test_a_leap_joins_two_points_of_a_way(ways):
    rows, first, last = torch.tensor([0, 5]), torch.tensor([0, 8]), torch.tensor([16, 12])
    leaps = Leaps.of(ways, rows, first, last)
    assert leaps.span.tolist() == [1.0, 0.25]
    landed = leaps.x + leaps.span.view(-1, 1, 1, 1) * leaps.velocity
    torch.testing.assert_close(landed, ways.points[rows, last])


def test_a_fresh_student_is_its_teacher_whatever_the_span(teacher, ways):
    ours = teacher.synthesizer.denoiser
    student = spanned(ours).eval()
    assert student.config == dataclasses.replace(ours.config, knows_spans=True)
    x, t, condition = ways.points[:3, 4], torch.rand(3), ways.conditions[:3]
    with torch.inference_mode():
        got = student(x, t, condition, torch.tensor([0.0, 0.5, 1.0]))
        torch.testing.assert_close(got, ours(x, t, condition))


def test_a_student_learns_to_leap(teacher, ways, tmp_path):
    student, progressed = distill(teacher, ways, QUICK, seed=0, folder=tmp_path, on_step=unheard)
    start, end = ways.points[:8, 0], ways.points[:8, -1]
    ones, condition = torch.ones(8), ways.conditions[:8]
    with torch.inference_mode():
        leap = start + student.synthesizer.denoiser(start, ones, condition, ones)
        blind = start + teacher.synthesizer.denoiser(start, ones, condition)
    assert (leap - end).square().mean() < 0.7 * (blind - end).square().mean()
    assert progressed.best_step > 0
    drawn, named = (
        student.draw([{}, {}], [0, 1], seed=0, how=SamplerConfig(2, method))
        for method in (None, "shortcut")
    )
    assert np.array_equal(drawn, named)


def test_guidance_is_within(teacher):
    student = student_of(teacher, denoiser=spanned(teacher.synthesizer.denoiser))
    with pytest.raises(ValueError, match="has its guidance within; ask for guidance 1"):
        student.draw([{}], [0], seed=0, how=SamplerConfig(2, guidance=Guidance(2.0)))


def test_only_a_flow_with_all_its_points_is_distilled(teacher, ways, tmp_path):
    other = student_of(teacher, objective=Objective.of("v"))
    with pytest.raises(ValueError, match="only a flow can be distilled"):
        distill(other, ways, QUICK, seed=0, folder=tmp_path, on_step=unheard)
    short = Ways(ways.times[:5], ways.points[:, :5], ways.conditions, ways.unasked)
    with pytest.raises(ValueError, match="ways must have 17 points, got 5"):
        distill(teacher, short, QUICK, seed=0, folder=tmp_path, on_step=unheard)
