import signal
import subprocess
import sys

import pytest
import torch

from medsynth.train.adversary import Adversary
from medsynth.train.recipe import Recipe
from medsynth.train.train import train

KILLED = """
import os, signal, sys
from pathlib import Path
from medsynth.core.stage import open_stage
from medsynth.train.config import TrainConfig
from medsynth.train.train import train

prepared, out, config, step = sys.argv[1:]

def die(report):
    if report.stage == "latents" and report.step == int(step):
        os.kill(os.getpid(), signal.SIGKILL)

config = TrainConfig.model_validate_json(config)
train(open_stage(Path(prepared)), Path(out), config, seed=5, on_step=die)
"""
CONTEST = {"adversarial_weight": 0.05, "adversarial_start": 0.6, "perceptual_weight": 1.0}
CODES = {"autoencoder_kind": "vq", "num_codes": 8}
RECIPE = Recipe("toy", 100, 1e-2, 0.0, 0)


def test_a_critic_learns_to_tell_and_waits_for_its_turn():
    torch.manual_seed(0)
    adversary = Adversary.of((16, 16), RECIPE, 0.4, torch.device("cpu"))
    assert [adversary.has_begun(step) for step in (0, 39, 40, 99)] == [False, False, True, True]
    losses = [
        float(adversary.learn(torch.randn(4, 1, 16, 16), torch.zeros(4, 1, 16, 16), step))
        for step in range(40, 70)
    ]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("sides", [(8, 16), (8, 16, 8), (16, 24)])
def test_a_critic_sees_patches_of_small_images_too(sides):
    adversary = Adversary.of(sides, RECIPE, 0.0, torch.device("cpu"))
    assert adversary.critic(torch.zeros(1, 1, *sides)).numel() > 1


@pytest.mark.parametrize(("changes", "step"), [(CONTEST, 6), (CONTEST, 10), (CODES, 6)])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path, prepared, tiny, changes, step):
    config = tiny.model_copy(update=changes | {"denoiser_steps": 2})
    source = prepared(tmp_path / "in")
    expected = train(source, tmp_path / "whole", config, seed=5)
    arguments = [str(source.path), str(tmp_path / "out"), config.model_dump_json(), str(step)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments])
    assert done.returncode == -signal.SIGKILL
    got = train(source, tmp_path / "out", config, seed=5)
    assert [stage.digest for stage in got] == [stage.digest for stage in expected]
