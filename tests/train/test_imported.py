"""A denoiser of ours on an autoencoder that somebody else trained."""

import json

import numpy as np
import pytest

from medsynth.checkpoint import load_generator, save_autoencoder
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Request, produce
from medsynth.models.imported import ImportedAutoencoder, ImportedAutoencoderConfig
from medsynth.models.synthesizer import LatentScale
from medsynth.train.train import train

ARGUMENTS = {
    "spatial_dims": 2,
    "channels": (4, 8, 8),
    "num_res_blocks": (1, 1, 1),
    "attention_levels": (False, False, True),
    "latent_channels": 2,
    "norm_num_groups": 2,
    "include_fc": False,
}


def lone(folder, **changes):
    shape = ImportedAutoencoderConfig("AutoencoderKL", {**ARGUMENTS, **changes})
    network, scale = ImportedAutoencoder(shape), LatentScale(np.zeros(2), np.full(2, 1.25))
    return produce(
        folder,
        Request("checkpoint", {}, {}, "code"),
        lambda into: save_autoencoder(into, network, scale),
    )


def test_a_denoiser_is_trained_on_an_imported_autoencoder(tmp_path, prepared, tiny) -> None:
    theirs = lone(tmp_path / "theirs")
    latents, made = train(prepared(tmp_path), tmp_path, tiny, public_autoencoder=theirs)
    ours = load_generator(made.path)
    assert isinstance(ours.synthesizer.autoencoder, ImportedAutoencoder)
    assert ours.synthesizer.scale.sd.tolist() == [1.25, 1.25]
    said = json.loads((latents.path / "latents.json").read_text())
    assert said["autoencoder"]["arguments"]["channels"] == [4, 8, 8]
    weights = ("checkpoint", "latents")
    before, *after = (
        (folder / "autoencoder.safetensors").read_bytes()
        for folder in (theirs.path, *(tmp_path / name for name in weights))
    )
    assert after == [before, before]
    assert made.receipt["parents"]["autoencoder"] == theirs.digest


def test_latents_that_the_config_does_not_expect_are_refused(tmp_path, prepared, tiny) -> None:
    theirs = lone(tmp_path / "theirs", channels=(4, 8), num_res_blocks=1, attention_levels=(0, 0))
    with pytest.raises(UsageProblem, match=r"2 channels, factor 4; this one has .* factor 2"):
        train(prepared(tmp_path), tmp_path, tiny, public_autoencoder=theirs)
