import pytest
import torch

from medsynth.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    divergence,
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


def test_the_divergence_vanishes_for_a_standard_normal():
    zeros, ones = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert divergence(zeros, ones) == 0
    assert divergence(ones, ones) == 0.5


def test_noise_alone_decides_which_latents_are_drawn():
    network = Autoencoder(AutoencoderConfig(2, (8, 8))).eval()
    images, noise = torch.randn(2, 1, 16, 12), torch.zeros(2, 4, 4, 3)
    output, regularizer = network(images, noise, torch.zeros(2))
    torch.testing.assert_close(output, network.decode(network.encode(images)))
    assert regularizer > 0
    assert not torch.allclose(network(images, noise + 1, torch.zeros(2))[0], output)


def test_further_noise_is_a_share_of_each_channels_own_spread():
    """Of cosines alone, which the network adds nothing to yet, noise can be read back."""
    network = Autoencoder(AutoencoderConfig(2, (8, 8), latent_channels=16, has_cosines=True))
    images = torch.randn(64, 1, 16, 16).cumsum(2).cumsum(3)
    noise, shares = torch.randn(64, 16, 4, 4), torch.linspace(0, 0.5, 64)
    calm, _ = network(images, noise, torch.zeros(64))
    stirred, _ = network(images, noise, shares)
    clean = network.encode(images)
    added = network.encode(stirred) - network.encode(calm)
    own = clean.transpose(0, 1).flatten(1).std(dim=1).view(1, 16, 1, 1)
    torch.testing.assert_close(added, shares.view(-1, 1, 1, 1) * own * noise, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("space", [(24, 16), (8, 16, 8)])
@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_both_kinds_reconstruct_at_factor_eight_and_every_weight_learns(kind, space):
    config = AutoencoderConfig(len(space), (8, 8), 4, 3, kind=kind, num_codes=8)
    network, sides = Autoencoder(config), [side // 8 for side in space]
    with torch.autocast("cpu", torch.bfloat16):
        images, noise = torch.randn(2, 1, *space), torch.randn(2, 3, *sides)
        output, regularizer = network(images, noise, torch.zeros(2))
        (output.float().square().mean() + regularizer).backward()
    assert output.shape == (2, 1, *space)
    learning = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in learning)


def test_latents_are_rounded_only_when_they_are_decoded():
    config = AutoencoderConfig(2, (8, 8), kind="vq", num_codes=8)
    network = Autoencoder(config).eval()
    latents = network.encode(torch.randn(2, 1, 16, 16))
    codes = network.codebook.nearest(latents)
    assert not torch.allclose(latents, codes)
    assert torch.equal(network.decode(latents), network.decode(codes))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spatial_dims": 1}, "2 or 3 spatial dims, got 1"),
        ({"spatial_dims": 2, "patch": 3}, "factor of 6; it must be 2, 4, 8 or 16"),
        ({"spatial_dims": 2, "channels": (12, 16)}, "multiples of norm_groups 8"),
        ({"spatial_dims": 2, "kind": "vq", "num_codes": 1}, "at least 2 codes, got 1"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(**fields)
