"""Two real processes (torchrun, gloo) against one."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from medsynth.core.errors import UsageProblem
from medsynth.train import ranks
from medsynth.train.fit import Task, fit
from medsynth.train.ranks import Share
from medsynth.train.recipe import Recipe
from medsynth.train.report import unheard
from medsynth.train.train import train

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SECONDS = 150

WHOLE = """
import sys
from pathlib import Path
from medsynth.core.stage import open_stage
from medsynth.train.config import TrainConfig
from medsynth.train.ranks import together
from medsynth.train.train import train

prepared, out, config = sys.argv[1:]
with together() as share:
    train(
        open_stage(Path(prepared)), Path(out), TrainConfig.model_validate_json(config), seed=5,
        on_step=lambda report: print(share.rank, report.stage, report.step, flush=True),
    )
"""

TOY = """
import json, sys, time
from pathlib import Path
import torch
from medsynth.core.errors import MedsynthError
from medsynth.train.fit import Task, fit
from medsynth.train.ranks import together
from medsynth.train.recipe import Recipe

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
recipe = Recipe("toy", 60, 0.01, 0.0, 0, batch=8, report_every=5, validate_every=20,
                save_every=10, precision="fp32")

with together() as share:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))

    def loss(network, step, share):
        inputs, mine = torch.randn(8, 4), share.rows(8)
        time.sleep(seconds if step else 0)
        return {"loss": (network(inputs[mine])[:, 0] - inputs[mine].sum(1)).square().mean()}

    held_out = torch.ones(3, 4)
    task = Task(network, loss, lambda n: float((n(held_out) - 4).square().mean()))
    try:
        done = fit(task, recipe, folder, lambda r: print("step", r.step, flush=True))
    except MedsynthError as error:
        print(error, flush=True)
        raise SystemExit(1)
    if share.is_first:
        weights = [p.tolist() for p in network.parameters()]
        (folder / "done.json").write_text(json.dumps([done.history, weights]))
"""


def start(script, *arguments, under=(), **how):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *under, *([script] if under else ["-c", script]), *arguments]
    return subprocess.Popen(command, env=environment, text=True, **how)


@pytest.fixture
def scripts(tmp_path):
    for name, content in {"whole": WHOLE, "toy": TOY}.items():
        (tmp_path / f"{name}.py").write_text(content)
    return tmp_path


def assert_close(history, other):
    assert [sorted(row) for row in history] == [sorted(row) for row in other]
    for row, theirs in zip(history, other, strict=True):
        assert row == pytest.approx(theirs, rel=1e-4)


def test_two_processes_learn_what_one_learns(scripts, tmp_path, prepared, tiny):
    source = prepared(tmp_path / "in")
    few = {"autoencoder_steps": 6, "denoiser_steps": 6, "precision": "fp32"}
    config = tiny.model_copy(update=few)
    both = start(
        str(scripts / "whole.py"),
        *map(str, (source.path, tmp_path / "two", config.model_dump_json())),
        under=TORCHRUN,
        stdout=subprocess.PIPE,
    )
    said = both.communicate(timeout=SECONDS)[0]
    assert both.returncode == 0
    assert {line.split()[0] for line in said.splitlines()} == {"0"}
    for stage in train(source, tmp_path / "one", config, seed=5):
        histories = [
            json.loads((tmp_path / out / stage.path.name / "training.json").read_text())["history"]
            for out in ("one", "two")
        ]
        assert_close(*histories)
    again = train(source, tmp_path / "two", config, seed=5)
    assert all(stage.reused for stage in again)


def wait_for_step(process, step):
    for line in process.stdout:
        if line.strip() == f"step {step}":
            return
    raise AssertionError("it ended before that step")


def end_and_count(process):
    """SIGTERM; its exit code, what it said, and how many of its children are left."""
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=SECONDS)[0]
    _gone, alive = psutil.wait_procs(children, timeout=max(0.1, 10 - (time.monotonic() - began)))
    return process.returncode, said, len(alive)


def test_torchrun_asked_to_end_saves_and_one_process_goes_on(scripts, tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    pair = start(
        str(scripts / "toy.py"),
        *(str(tmp_path / "two"), "0.05"),
        under=TORCHRUN,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    wait_for_step(pair, 25)
    code, said, num_left = end_and_count(pair)
    assert (code != 0, num_left) == (True, 0)
    assert "goes on from there" in said
    assert not (tmp_path / "two" / "done.json").exists()
    outcomes = []
    for folder in (tmp_path / "two", tmp_path / "one"):
        alone = start(TOY, str(folder), "0", stdout=subprocess.PIPE)
        said = alone.communicate(timeout=SECONDS)[0]
        assert alone.returncode == 0
        outcomes.append((said.splitlines()[0], json.loads((folder / "done.json").read_text())))
    (first, (history, _)), (_, (expected, _)) = outcomes
    assert 25 <= int(first.split()[1]) < 60
    assert_close(history, expected)


def test_a_process_asked_to_end_saves_and_goes_on_bit_for_bit(tmp_path):
    outcomes = []
    for name in ("stopped", "whole"):
        (tmp_path / name).mkdir()
        if name == "stopped":
            first = start(TOY, str(tmp_path / name), "0.05", stdout=subprocess.PIPE)
            wait_for_step(first, 25)
            code, said, num_left = end_and_count(first)
            assert (code, num_left) == (1, 0)
            assert "asked to end at step" in said
        assert start(TOY, str(tmp_path / name), "0").wait(SECONDS) == 0
        outcomes.append(json.loads((tmp_path / name / "done.json").read_text()))
    assert outcomes[0] == outcomes[1]


def test_shares_are_the_batch_in_order():
    for count in (1, 3, 8, 13):
        for world in (1, 2, 5):
            parts = [Share(rank, world).rows(count) for rank in range(world)]
            assert torch.cat(parts).tolist() == list(range(count))
            assert len(parts[0]) >= 1


def test_a_batch_that_processes_cannot_share_evenly_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("medsynth.train.fit.current_share", lambda: Share(0, 3))
    ours = Task(torch.nn.Linear(1, 1), lambda network, step, share: {}, None)
    with pytest.raises(UsageProblem, match="multiple of the number of processes, got 8 and 3"):
        fit(ours, Recipe("toy", 1, 0.1, 0.0, 0, batch=8), tmp_path, unheard)


def test_alone_nothing_is_exchanged():
    with ranks.together() as share:
        assert share == Share(0, 1)
    assert ranks.any_process(True)
    assert ranks.told_text("a word") == "a word"
    assert ranks.told_number(2.5) == 2.5
