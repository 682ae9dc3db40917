import pytest
import torch

from medsynth.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    ReconstructionLoss,
    from_patches,
    to_patches,
)


@pytest.mark.parametrize("space", [(8, 12), (4, 8, 12)])
def test_patches_give_the_images_back(space):
    images = torch.randn(3, 1, *space)
    coarse = to_patches(images, 2)
    assert coarse.shape == (3, 2 ** len(space), *(side // 2 for side in space))
    assert torch.equal(from_patches(coarse, 2), images)


def test_a_patch_holds_neighbors():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert to_patches(images, 2)[0, :, 0, 0].tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("space", [(24, 8), (12, 20, 4)])
def test_latents_are_a_quarter_of_each_side(space):
    network = Autoencoder(AutoencoderConfig(len(space), (8, 8), latent_channels=3))
    latents = network.encode(torch.randn(2, 1, *space))
    assert latents.shape == (2, 3, *(side // 4 for side in space))
    assert network.decode(latents).shape == (2, 1, *space)


def test_a_small_lesion_weighs_more_than_the_same_error_spread_out():
    target = torch.zeros(1, 1, 32, 32)
    lesion = target.clone()
    lesion[..., :3, :3] = 1
    spread = target + 9 / 32**2
    loss = ReconstructionLoss()
    assert loss(lesion, target)["l1"] == pytest.approx(float(loss(spread, target)["l1"]), abs=1e-6)
    assert loss(lesion, target)["loss"] > 5 * loss(spread, target)["loss"]


def test_the_divergence_vanishes_for_a_standard_normal():
    loss = ReconstructionLoss(kl_weight=1.0)
    zero = {"loss": torch.zeros(())}
    assert loss.with_kl(zero, torch.zeros(2, 3), torch.ones(2, 3))["loss"] == 0
    assert loss.with_kl(zero, torch.ones(2, 3), torch.ones(2, 3))["kl"] == 0.5
