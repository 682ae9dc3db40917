import dataclasses

import pytest
import torch

from medsynth.core.errors import MedsynthError
from medsynth.train.fit import Recipe, Task, fit, learning_rate
from medsynth.train.report import unheard

RECIPE = Recipe(
    "toy", 60, 0.05, 0.0, 0, report_every=5, validate_every=5, save_every=10, precision="fp32"
)


class Stopped(Exception):
    pass


def task(optimum=3.0, validation=None):
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 1, bias=False)

    def loss(network, step):
        return {"loss": (network.weight - optimum + 0.1 * torch.randn(1)).square().mean()}

    return Task(network, loss, validation or (lambda n: float((n.weight - optimum).square())))


def test_training_reaches_the_optimum(tmp_path):
    ours = task()
    fit(ours, dataclasses.replace(RECIPE, num_steps=400), tmp_path, unheard)
    assert ours.network.weight.item() == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("killed_at", [5, 20, 35, 55])
def test_a_stopped_training_goes_on_as_if_nothing_had_happened(tmp_path, killed_at):
    def stop(report):
        if report.step == killed_at:
            raise Stopped

    whole, halves = task(), task()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    expected = fit(whole, RECIPE, tmp_path / "a", unheard)
    with pytest.raises(Stopped):
        fit(halves, RECIPE, tmp_path / "b", stop)
    again = task()
    got = fit(again, RECIPE, tmp_path / "b", unheard)
    assert got == expected
    assert torch.equal(again.network.weight, whole.network.weight)


def test_a_training_killed_before_its_first_validation_goes_on(tmp_path):
    def stop(report):
        if report.step == 20:
            raise Stopped

    recipe = dataclasses.replace(RECIPE, validate_every=30)
    with pytest.raises(Stopped):
        fit(task(), recipe, tmp_path, stop)
    assert fit(task(), recipe, tmp_path, unheard).best_step in (30, 60)


def test_training_stops_when_validation_no_longer_falls_and_keeps_the_best(tmp_path):
    losses = iter([3.0, 2.0, 1.0, *[5.0] * 50])
    progressed = fit(
        task(validation=lambda n: next(losses)),
        dataclasses.replace(RECIPE, patience=2),
        tmp_path,
        unheard,
    )
    assert (progressed.best_step, progressed.step) == (15, 25)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    with pytest.raises(MedsynthError, match="no longer finite at step 5"):
        fit(task(optimum=float("nan")), RECIPE, tmp_path, unheard)


def test_reports_name_stage_step_and_metrics(tmp_path):
    reports = []
    fit(task(), RECIPE, tmp_path, reports.append)
    assert [report.step for report in reports] == list(range(5, 61, 5))
    assert set(reports[0].metrics) == {"loss", "validation"}
    assert reports[0].num_steps == 60


def test_the_callers_random_state_is_left_alone(tmp_path):
    ours = task()
    before = torch.get_rng_state()
    fit(ours, RECIPE, tmp_path, unheard)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_rate_rises_then_falls():
    rates = [learning_rate(RECIPE, step) for step in range(60)]
    assert max(rates) == rates[2] == pytest.approx(0.05)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] < 0.001
