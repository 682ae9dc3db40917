import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from medsynth.checkpoint import load_generator, write_weights
from medsynth.core.errors import TooFewSubjects
from medsynth.core.schema import AttributeSchema
from medsynth.core.stage import open_stage
from medsynth.models.objective import Objective
from medsynth.models.perceptual import FeatureConfig, FeatureNetwork
from medsynth.models.synthesizer import SamplerConfig
from medsynth.train import fit
from medsynth.train.config import TrainConfig
from medsynth.train.dp_config import DpConfig
from medsynth.train.train import train

KILLED = """
import os, signal, sys
from pathlib import Path
from medsynth.core.stage import open_stage
from medsynth.train.config import TrainConfig
from medsynth.train.train import train

prepared, out, config, stage, step = sys.argv[1:]

def die(report):
    if report.stage == stage and report.step == int(step):
        os.kill(os.getpid(), signal.SIGKILL)

config = TrainConfig.model_validate_json(config)
train(open_stage(Path(prepared)), Path(out), config, seed=5, on_step=die)
"""


class Stopped(Exception):
    pass


def test_a_killed_training_resumes_bit_for_bit(tmp_path, prepared, tiny):
    source = prepared(tmp_path / "in")
    expected = train(source, tmp_path / "whole", tiny, seed=5)
    arguments = [str(source.path), str(tmp_path / "out"), tiny.model_dump_json(), "latents", "6"]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments])
    assert done.returncode == -signal.SIGKILL
    resumed = []

    def stop(report):
        resumed.append((report.stage, report.step))
        if resumed[-1] == ("checkpoint", 8):
            raise Stopped

    with pytest.raises(Stopped):
        train(source, tmp_path / "out", tiny, seed=5, on_step=stop)
    got = train(source, tmp_path / "out", tiny, seed=5, on_step=resumed.append)
    assert resumed[:3] == [("latents", 0), ("latents", 4), ("latents", 6)]
    assert (got[0].reused, got[1].reused) == (True, False)
    assert [stage.digest for stage in got] == [stage.digest for stage in expected]


def test_trained_stages_are_found_and_hold_no_pickle(tmp_path, prepared, tiny):
    source = prepared(tmp_path)
    stages = train(source, tmp_path, tiny)
    assert all(stage.reused for stage in train(source, tmp_path, tiny))
    names = {name for stage in stages for name in open_stage(stage.path).receipt["files"]}
    assert names == {
        "autoencoder.safetensors",
        "encoder.safetensors",
        "denoiser.safetensors",
        "generator.json",
        "latents.json",
        "latents.npy",
        "previews/step-00000012.png",
        "training.json",
    }
    # The checkpoint goes to the registry: it holds no picture that nobody has screened.
    assert not [name for name in stages[1].receipt["files"] if name.endswith(".png")]


def test_previews_are_their_owners_alone_and_leave_training_as_it_is(
    tmp_path, prepared, tiny, monkeypatch
):
    source, often = prepared(tmp_path), tiny.model_copy(update={"validate_every": 1})
    found = {}

    def look(report):
        for path in (tmp_path / ".partial").rglob("*.png"):
            found[path.relative_to(tmp_path / ".partial").parts[0].split("-")[0]] = path.stat()

    stages = train(source, tmp_path, often, on_step=look)
    assert set(found) == {"latents", "checkpoint"}
    assert {stat.st_mode & 0o777 for stat in found.values()} == {0o600}
    with Image.open(stages[0].path / "previews" / "step-00000010.png") as pairs:
        assert pairs.height == 2 * (128 + 4) + 4  # real scans above their round trips
    monkeypatch.setattr(fit, "_is_due", lambda step, recipe: False)
    bare = train(source, tmp_path / "bare", often)
    assert (
        bare[1].receipt["files"]["denoiser.safetensors"]
        == (stages[1].receipt["files"]["denoiser.safetensors"])
    )


def test_another_denoiser_keeps_the_autoencoder(tmp_path, prepared, tiny):
    source = prepared(tmp_path)
    train(source, tmp_path, tiny)
    latents, checkpoint = train(
        source, tmp_path, tiny.model_copy(update={"denoiser_learning_rate": 1e-4})
    )
    assert (latents.reused, checkpoint.reused) == (True, False)


def test_copies_teach_what_their_scans_teach_and_more_once_they_move(tmp_path, prepared, tiny):
    """Copies that stay where they are are their scans, in the scans' order."""
    still = {
        "copy_angle": 0.0,
        "copy_zoom": 0.0,
        "copy_shift": 0.0,
        "copy_bend": 0.0,
        "largest_gain": 0.0,
    }
    source, weights = prepared(tmp_path), []
    for changes in ({}, {"latent_copies": 2}, {"latent_copies": 2, "copy_shift": 2.0}):
        config = tiny.model_copy(update=still | changes)
        latents, checkpoint = train(source, tmp_path, config)
        file = load_file(checkpoint.path / "denoiser.safetensors")
        weights.append(np.concatenate([tensor.ravel() for tensor in file.values()]))
    assert latents.reused
    plain, same, moved = weights
    # Splines and half precision round, and Adam's first steps amplify it.
    assert np.abs(same - plain).mean() < 0.1 * np.abs(moved - plain).mean()


def test_only_the_training_fold_shapes_the_generator(tmp_path, prepared, tiny):
    files = []
    for seed in (1, 2):
        source = prepared(tmp_path / str(seed), seed_of_others=seed)
        stages = train(source, tmp_path / str(seed), tiny)
        files.append([stage.receipt["files"] for stage in stages])
        fields = json.loads((stages[1].path / "generator.json").read_text())
        assert fields["prepared_digest"] == source.digest
    (latents, checkpoint), (other_latents, other_checkpoint) = files
    assert latents == other_latents
    checkpoint.pop("generator.json"), other_checkpoint.pop("generator.json")
    assert checkpoint == other_checkpoint


@pytest.mark.parametrize(
    ("shape", "schema"), [((9, 14, 6), None), ((10, 13, 1), AttributeSchema())]
)
def test_odd_volumes_and_empty_schemas_train(tmp_path, prepared, tiny, shape, schema):
    source = prepared(tmp_path, shape=shape, **({} if schema is None else {"schema": schema}))
    quick = tiny.model_copy(update={"autoencoder_steps": 2, "denoiser_steps": 2})
    _, checkpoint = train(source, tmp_path, quick)
    generator = load_generator(checkpoint.path)
    volumes = generator.draw([{}, {}], [0, 1], seed=0, how=SamplerConfig(2))
    assert volumes.shape == (2, *shape)
    assert volumes.dtype == np.float32
    assert generator.round_trip(volumes).shape == volumes.shape
    assert np.allclose(generator.geometry.spacing, (2, 3, 4))


@pytest.mark.parametrize("target", ["epsilon", "sample", "v"])
def test_a_checkpoint_knows_what_its_network_predicts(tmp_path, prepared, tiny, target):
    quick = {"autoencoder_steps": 2, "denoiser_steps": 2, "objective": target, "time_shift": 2.0}
    _, checkpoint = train(prepared(tmp_path), tmp_path, tiny.model_copy(update=quick))
    generator = load_generator(checkpoint.path)
    assert generator.synthesizer.objective == Objective.of(target, shift=2.0)
    assert np.isfinite(generator.draw([{}], [0], seed=0, how=SamplerConfig(3))).all()
    with pytest.raises(ValueError, match="take ddim"):
        generator.draw([{}], [0], seed=0, how=SamplerConfig(3, method="euler"))


def test_a_file_of_features_counts_by_its_content_and_is_never_named(tmp_path, prepared, tiny):
    source = prepared(tmp_path)
    quick = {"autoencoder_steps": 2, "denoiser_steps": 2, "perceptual_weight": 1.0}
    local = tmp_path / "secret-name.safetensors"
    for seed in (0, 1):
        torch.manual_seed(seed)
        write_weights(local, FeatureNetwork(FeatureConfig(2)))
        given = tiny.model_copy(update=quick | {"perceptual_weights": local})
        stages = train(source, tmp_path / "b", given)
        assert not any(stage.reused for stage in stages)
        assert "secret-name" not in "".join(str(stage.receipt) for stage in stages)
    assert all(stage.reused for stage in train(source, tmp_path / "b", given))


def test_the_latents_are_standardized_by_the_training_fold(tmp_path, prepared, tiny):
    latents, _ = train(prepared(tmp_path), tmp_path, tiny)
    array = np.load(latents.path / "latents.npy", allow_pickle=False)
    fields = json.loads((latents.path / "latents.json").read_text())
    assert array.dtype == np.float16
    assert len(array) == len(fields["scan_ids"]) == 24
    np.testing.assert_allclose(array.astype(float).mean((0, 2, 3)), fields["mean"], atol=1e-6)
    np.testing.assert_allclose(array.astype(float).std((0, 2, 3)), fields["sd"], atol=1e-6)


def test_too_few_subjects_are_refused(tmp_path, prepared, tiny):
    with pytest.raises(TooFewSubjects, match="at least 10 subjects"):
        train(prepared(tmp_path, num_train=9), tmp_path, tiny)


def test_shapes_the_networks_cannot_have_are_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        TrainConfig(denoiser_channels=(24, 32))


def test_private_training_has_no_copies():
    with pytest.raises(ValueError, match="latent_copies must be 0"):
        TrainConfig(latent_copies=2, dp=DpConfig())


def test_no_state_is_left_behind(tmp_path, prepared, tiny):
    train(prepared(tmp_path), tmp_path, tiny)
    left = [name for _, folders, files in os.walk(tmp_path) for name in (*folders, *files)]
    assert not [name for name in left if name.startswith("training-state")]
