import dataclasses
import os
import signal
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from medsynth.core.errors import MedsynthError
from medsynth.train.fit import Task, fit
from medsynth.train.forecast import Forecast, Memory, NotEnough, Trial
from medsynth.train.interrupt import Interrupted, heeding_sigterm
from medsynth.train.recipe import Recipe, learning_rate, spare_small_volumes
from medsynth.train.report import unheard
from medsynth.train.state import Learner

RECIPE = Recipe(
    "toy", 60, 0.05, 0.0, 0, report_every=5, validate_every=5, save_every=10, precision="fp32"
)


class Stopped(Exception):
    pass


def task(optimum=3.0, validation=None):
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 1, bias=False)

    def loss(network, step, share):
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
    # The first call is the forecast's.
    losses = iter([9.0, 3.0, 2.0, 1.0, *[5.0] * 50])
    progressed = fit(
        task(validation=lambda n: next(losses)),
        dataclasses.replace(RECIPE, patience=2),
        tmp_path,
        unheard,
    )
    assert (progressed.best_step, progressed.step) == (15, 25)


def test_validations_before_their_time_are_told_and_never_the_best(tmp_path):
    losses = iter([9.0, 1.0, 2.0, 4.0, 3.0, *[5.0] * 50])
    ours = dataclasses.replace(task(validation=lambda n: next(losses)), counts_from=11)
    progressed = fit(ours, dataclasses.replace(RECIPE, patience=2), tmp_path, unheard)
    assert progressed.best_step == 20
    assert progressed.history[0]["validation"] == 1.0


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    with pytest.raises(MedsynthError, match="no longer finite at step 5"):
        fit(task(optimum=float("nan")), RECIPE, tmp_path, unheard)


def test_reports_name_stage_step_and_metrics(tmp_path):
    reports = []
    fit(task(), RECIPE, tmp_path, reports.append)
    assert [report.step for report in reports] == list(range(0, 61, 5))
    assert set(reports[1].metrics) == {"loss", "validation"}
    assert reports[1].num_steps == 60


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


def test_a_constant_rate_stays_where_it_rose_to():
    steady = dataclasses.replace(RECIPE, schedule="constant")
    assert {learning_rate(steady, step) for step in range(3, 60)} == {0.05}


def fit_until(step, folder, ours, recipe=RECIPE):
    def stop(report):
        if report.step == step:
            raise Stopped

    with pytest.raises(Stopped):
        fit(ours, recipe, folder, stop)


@pytest.mark.parametrize("damage", ["cut", "changed", "both"])
def test_a_damaged_state_is_passed_by_and_the_one_before_taken(tmp_path, damage):
    whole, ours, reports = task(), task(), []
    (tmp_path / "whole").mkdir()
    expected = fit(whole, RECIPE, tmp_path / "whole", unheard)
    fit_until(35, tmp_path, task())
    states = sorted((tmp_path / "training-state").glob("state-*"))
    for path in states if damage == "both" else states[-1:]:
        content = path.read_bytes()
        path.write_bytes(content[:-3] + (b"" if damage == "cut" else b"abc"))
    assert fit(ours, RECIPE, tmp_path, reports.append) == expected
    assert torch.equal(ours.network.weight, whole.network.weight)
    assert [report.step for report in reports[:2]] == ([0, 5] if damage == "both" else [20, 25])
    assert "damaged" in reports[0].notes[-1]


def test_a_training_asked_to_end_saves_its_state_and_goes_on_as_if_it_had_not(tmp_path):
    def ask(report):
        if report.step == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    whole, ours, reports = task(), task(), []
    (tmp_path / "whole").mkdir()
    expected = fit(whole, RECIPE, tmp_path / "whole", unheard)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="asked to end at step 25 of 60"):
        fit(task(), RECIPE, tmp_path, ask)
    assert signal.getsignal(signal.SIGTERM) is before
    assert fit(ours, RECIPE, tmp_path, reports.append) == expected
    assert torch.equal(ours.network.weight, whole.network.weight)
    assert [report.step for report in reports[:2]] == [25, 30]


def asked_to_end_in(call):
    """A task that gets SIGTERM in the middle of a validation, and whether that went on."""
    calls, finished = [], []

    def validation(network):
        calls.append(network)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
            finished.append(call)
        return float((network.weight - 3.0).square())

    return task(validation=validation), finished


@pytest.mark.parametrize(
    ("call", "words"),
    [(1, "before a step"), (6, "at step 25 of 60"), (13, "at step 60 of 60"), (16, "step 60 of")],
    ids=["forecast", "validation", "last step", "choice of the average"],
)
def test_a_validation_is_left_at_once_and_done_again(tmp_path, call, words):
    whole, ours = task(), task()
    (tmp_path / "whole").mkdir()
    expected = fit(whole, RECIPE, tmp_path / "whole", unheard)
    stopped, finished = asked_to_end_in(call)
    with pytest.raises(Interrupted, match=words):
        fit(stopped, RECIPE, tmp_path, unheard)
    assert not finished
    assert any((tmp_path / "training-state").glob("state-*")) == (call > 1)
    assert fit(ours, RECIPE, tmp_path, unheard) == expected
    assert torch.equal(ours.network.weight, whole.network.weight)


def test_a_preview_is_left_at_once_and_not_missed(tmp_path):
    def look(network, step):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    whole, ours = task(), task()
    (tmp_path / "whole").mkdir()
    expected = fit(whole, RECIPE, tmp_path / "whole", unheard)
    with pytest.raises(Interrupted):
        fit(dataclasses.replace(task(), preview=look), RECIPE, tmp_path, unheard)
    assert fit(ours, RECIPE, tmp_path, unheard) == expected
    assert torch.equal(ours.network.weight, whole.network.weight)


def test_an_end_asked_for_too_late_is_handed_on():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with heeding_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == []
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_signals_are_left_alone(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(fit, task(), RECIPE, tmp_path, unheard).result().step == 60


def with_adversary():
    """A task whose loss moves a second network, which moves the loss."""
    ours = task()
    other = torch.nn.Linear(1, 1, bias=False)
    learner = Learner(other, torch.optim.Adam(other.parameters(), lr=0.1))

    def loss(network, step, share):
        learner.optimizer.zero_grad()
        (other.weight - torch.rand(1)).square().sum().backward()
        learner.optimizer.step()
        return {"loss": (network.weight - other.weight.detach()).square().mean()}

    return dataclasses.replace(ours, loss=loss, companions={"adversary": learner})


def test_companions_are_saved_and_taken_up_and_a_forecast_leaves_them_alone(tmp_path, monkeypatch):
    ours, again = with_adversary(), with_adversary()
    again.companions["adversary"].take_up(ours.companions["adversary"].tensors())
    (tmp_path / "whole").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "run", lambda trial, share, folder: Forecast(0.0, 0.0, 0, 0))
        expected = fit(ours, RECIPE, tmp_path / "whole", unheard)
    fit_until(35, tmp_path, again)
    again.companions["adversary"].network.weight.data.fill_(9.0)
    assert fit(again, RECIPE, tmp_path, unheard) == expected
    assert torch.equal(again.network.weight, ours.network.weight)
    mine, theirs = (t.companions["adversary"].network.weight for t in (again, ours))
    assert torch.equal(mine, theirs)


def test_validation_chooses_the_length_of_the_average(tmp_path):
    # Where weights only grow, the shortest average is the largest, the longest the smallest.
    for sign, chosen in ((-1.0, "0.03"), (1.0, "0.2")):
        torch.manual_seed(0)
        network = torch.nn.Linear(1, 1, bias=False)
        steady = dataclasses.replace(
            RECIPE, num_steps=200, schedule="constant", validate_every=200, save_every=300
        )
        growing = Task(
            network,
            lambda network, step, share: {"loss": -network.weight.mean()},
            lambda network, sign=sign: 100 + sign * float(network.weight),
        )
        folder = tmp_path / chosen
        folder.mkdir()
        progressed = fit(growing, steady, folder, unheard)
        losses = progressed.validation_by_length
        assert f"{progressed.ema_length:g}" == chosen == min(losses, key=losses.__getitem__)
        assert 100 + sign * network.weight.item() == pytest.approx(losses[chosen])
        assert losses["0.1"] == pytest.approx(progressed.best_loss)


def test_a_damaged_snapshot_is_left_out(tmp_path):
    (tmp_path / "whole").mkdir()
    expected = fit(task(), RECIPE, tmp_path / "whole", unheard)
    fit_until(55, tmp_path, task())
    for path in (tmp_path / "training-state").glob("averages-*"):
        path.write_bytes(b"")
    got = fit(task(), RECIPE, tmp_path, unheard)
    assert got.history == expected.history
    assert len(got.validation_by_length) < len(expected.validation_by_length)


def test_too_little_memory_is_said_before_the_first_step(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(Memory, "available", lambda memory: 10**6)
    with pytest.raises(NotEnough, match=r"GB of memory, but only 0\.0 GB"):
        fit(task(), RECIPE, tmp_path, reports.append)
    assert reports == []


def test_too_little_disk_is_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: types.SimpleNamespace(free=100))
    with pytest.raises(NotEnough, match="of disk for its states"):
        fit(task(), RECIPE, tmp_path, unheard)


def test_the_first_report_forecasts_time_memory_and_disk(tmp_path):
    reports = []
    fit(task(), RECIPE, tmp_path, reports.append)
    assert reports[0].step == 0
    assert set(reports[0].metrics) == {"forecast_seconds", "forecast_bytes"}
    assert reports[0].notes[0].startswith("toy: at most 60 steps in ")


def test_a_batch_that_is_far_too_large_is_not_tried_whole(tmp_path, monkeypatch):
    sizes = []
    network = torch.nn.Linear(1000, 1)

    def loss(network, step, share):
        sizes.append(len(share.rows(64)))
        return {"loss": network(torch.ones(sizes[-1] * 2000, 1000)).tanh().mean()}

    held = Memory(torch.device("cpu")).start()
    monkeypatch.setattr(Memory, "available", lambda memory: held + 250 * 10**6)
    with pytest.raises(NotEnough):
        fit(Task(network, loss, None), dataclasses.replace(RECIPE, batch=64), tmp_path, unheard)
    assert sizes == [16]


@pytest.mark.parametrize(
    ("sides", "precision"), [((8, 16, 16), "fp32"), ((16, 20, 16), "auto"), ((8, 8), "auto")]
)
def test_small_volumes_are_spared_bf16(sides, precision):
    recipe = dataclasses.replace(RECIPE, precision="auto")
    assert spare_small_volumes(recipe, sides, 4).precision == precision
