"""What holds for every model: a scan depends on its request, seed and index alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.stage import Request, produce
from medsynth.models.conditioning import encode_attributes
from medsynth.rivals.field import NAMES, field
from medsynth.rivals.pace import after_rehearsal, steps_within
from medsynth.sample.plan import Plan
from medsynth.train.fold import read_training_fold
from medsynth.train.report import unheard


def build(out: Path, make_ground):
    ground = make_ground((9, 14, 1))

    def fill(folder: Path) -> None:
        scans = [
            store_scan(
                folder,
                Volume(voxels[None], Geometry(scan.shape[:3], np.eye(4))),
                scan_id=scan.scan_id,
                subject_id=scan.subject_id,
                modality="MR",
                attributes=scan.attributes,
                fold="train",
            )
            for scan, voxels in zip(ground.fold.scans, ground.fold.volumes, strict=True)
        ]
        Manifest(tuple(scans), ground.schema).write(folder)

    return produce(out, Request("prepared", {}, {}, "test"), fill)


@pytest.fixture(scope="module")
def entries(tmp_path_factory, make_ground, tiny, settings):
    """Every contestant after a moment of training."""
    tmp_path = tmp_path_factory.mktemp("entries")
    prepared = build(tmp_path, make_ground)
    brief = tiny.model_copy(update={"minutes": 1e-4})
    plan = Plan(num_steps=4, guidance=2.0)
    makers = field(
        prepared,
        read_training_fold(prepared),
        brief,
        settings,
        plan,
        seed=0,
        at=tmp_path / "work",
        on_step=unheard,
    )
    return {name: make() for name, make in makers.items()}


def test_every_contestant_draws_alone_what_it_draws_in_company(entries):
    requests = [{"age": 25.0, "sex": "F"}, {"age": 39.0}, {"sex": "M"}]
    for name in NAMES:
        draw = entries[name].contestant.draw
        together = draw(requests, [4, 7, 9], 5)
        assert together.shape == (3, 9, 14, 1)
        assert 0 <= together.min() < together.max() <= 1
        assert np.array_equal(together[1:2], draw(requests[1:2], [7], 5)), name
        assert np.array_equal(together[::-1], draw(requests[::-1], [9, 7, 4], 5)), name
        assert not np.array_equal(together[1:2], draw(requests[1:2], [8], 5)), name
        assert not np.array_equal(together[1:2], draw(requests[1:2], [7], 6)), name


@pytest.mark.parametrize(("name", "value"), [("sex", "X"), ("age", 99.0)])
def test_what_training_never_saw_is_refused_by_every_contestant(entries, name, value):
    for model in NAMES:
        with pytest.raises(ValueError, match=name):
            entries[model].contestant.draw([{name: value}], [0], 0)


def test_every_effort_is_told(entries):
    for name in NAMES:
        effort = entries[name].effort
        assert min(effort.num_parameters, effort.steps, effort.seconds) > 0, name
    # Five passes of four second-order steps, of which those inside the interval are doubled.
    assert 5 < entries["diffusion"].effort.passes <= 10


def ask(rival, requests):
    return encode_attributes(rival.ground.schema, rival.ground.trained, requests)


def test_draws_of_the_gaussian_have_its_mean_and_covariance(entries):
    rival = entries["gaussian"].contestant
    model, num = rival.images, rival.num_normals
    residuals = model.residuals.numpy()
    noise = torch.randn(4000, num, generator=torch.Generator().manual_seed(0))
    asked = ask(rival, [{"age": 30.0, "sex": "F"}] * 4000)
    drawn = model.latents(noise, asked).numpy()
    covariance = residuals.T @ residuals / (num - 1)
    scale = np.sqrt(np.diag(covariance))
    mean = model.latents(torch.zeros(4000, num), asked)[0].numpy()
    assert np.abs((drawn.mean(0) - mean) / scale).max() < 0.1
    found = np.cov(drawn.T) / np.outer(scale, scale)
    np.testing.assert_allclose(found, covariance / np.outer(scale, scale), atol=0.12)


def test_the_gaussian_follows_an_attribute_that_the_latents_follow(entries):
    rival = entries["gaussian"].contestant
    asked = ask(rival, [{"age": age} for age in (22.0, 31.5, 41.0)])
    rows = rival.images.latents(torch.zeros(3, rival.num_normals), asked).numpy()
    np.testing.assert_allclose(rows[1], (rows[0] + rows[2]) / 2, atol=1e-5)
    assert np.abs(rows[2] - rows[0]).max() > 0.3


def test_a_rehearsal_tells_how_many_steps_fill_the_time():
    marks = [5.0, 6.0, 7.0, 8.0, 9.0, 13.0]  # a slow start; the last step validates for 3 s more
    assert steps_within(130.0, marks, validate_every=10) == 100
    assert steps_within(0.1, marks, validate_every=10) == 2


def test_what_a_rehearsal_spends_beside_its_steps_comes_twice():
    marks = [[3.0, 4.0, 5.0], [9.0, 12.0]]  # 5 s of steps in a rehearsal of 14 s
    assert after_rehearsal(100.0, 14.0, marks) == 100 - 14 - 9
