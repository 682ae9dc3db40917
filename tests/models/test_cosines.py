import pytest
import torch

from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.cosines import Cosines
from medsynth.models.tiling import decode_in_tiles, encode_in_tiles


@pytest.mark.parametrize(
    ("dims", "shape", "num"), [(2, (3, 1, 12, 20), 16), (3, (2, 1, 8, 12, 4), 64)]
)
def test_a_fresh_autoencoder_with_as_many_latents_as_voxels_loses_nothing(dims, shape, num):
    config = AutoencoderConfig(dims, (8, 8), latent_channels=num, has_cosines=True)
    network = Autoencoder(config)
    images = 2 * torch.rand(shape) - 1
    latents = network.encode(images)
    torch.testing.assert_close(network.decode(latents), images, atol=1e-5, rtol=0)
    output, _ = network(images, torch.randn_like(latents), torch.zeros(len(images)))
    assert (output - images).abs().mean() < 0.03


def test_the_cosines_are_orthonormal_and_begin_with_the_mean():
    cosines = Cosines(3, 4, 20)
    flat = cosines.basis.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(20), atol=1e-6, rtol=0)
    torch.testing.assert_close(flat[0], torch.full((64,), 1 / 8))


def test_few_cosines_keep_what_is_smooth_and_drop_what_is_rough():
    cosines = Cosines(2, 4, 6)
    slope = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16)
    board = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 1, 16) * torch.tensor(
        [1.0, -1.0]
    ).repeat(8).view(1, 1, 16, 1)
    assert (cosines.up(cosines.down(slope)) - slope).abs().max() < 0.02
    assert cosines.up(cosines.down(board)).abs().mean() < 0.2


def test_tiles_with_cosines_are_equal_to_the_whole():
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(2, (8, 8), latent_channels=6, has_cosines=True))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network.eval().requires_grad_(False)
    images = torch.rand(1, 1, 64, 48)
    latents = network.encode(images)
    torch.testing.assert_close(encode_in_tiles(network, images, (8, 6)), latents, atol=1e-4, rtol=0)
    tiled, whole = decode_in_tiles(network, latents, (8, 6)), network.decode(latents)
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)


def test_weights_do_not_hold_what_the_config_decides():
    with_one, without = (
        Autoencoder(AutoencoderConfig(2, (8, 8), has_cosines=has)) for has in (True, False)
    )
    assert with_one.state_dict().keys() == without.state_dict().keys()


def test_a_codebook_has_no_cosines():
    with pytest.raises(ValueError, match="kind kl"):
        AutoencoderConfig(2, kind="vq", has_cosines=True)
