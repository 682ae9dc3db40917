import pytest
import torch
from torch import nn

from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.memory import decode, encode
from medsynth.models.precision import SCALE, dequantize, pack, quantize, unpack
from medsynth.models.tiling import decode_in_tiles, encode_in_tiles


def test_int8_moves_no_weight_by_more_than_half_a_scale():
    weight = torch.randn(5, 3, 3, 2) * torch.tensor([1e-3, 0.1, 1.0, 40.0, 0.0]).view(-1, 1, 1, 1)
    numbers, scale = quantize(weight)
    assert numbers.dtype == torch.int8
    assert numbers.flatten(1).abs().amax(1).tolist() == [127, 127, 127, 127, 0]
    moved = (dequantize(numbers, scale) - weight).abs().flatten(1).amax(1)
    assert (moved <= 0.5001 * scale).all()


def test_whole_multiples_of_the_scale_come_back_exactly():
    weight = torch.tensor([[-127.0, 3.0, 64.0], [0.0, 0.0, 0.0]]) / 4
    assert torch.equal(dequantize(*quantize(weight)), weight)


def test_int8_is_for_layers_and_leaves_norms_and_biases():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 3))
    packed = pack(network, "int8")
    kinds = {name: tensor.dtype for name, tensor in packed.items()}
    assert kinds["0.weight"] == kinds["3.weight"] == torch.int8
    assert kinds["1.weight"] == kinds["0.bias"] == kinds["3.weight" + SCALE] == torch.float32
    assert unpack(packed).keys() == network.state_dict().keys()


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    network = Denoiser(DenoiserConfig(2, 2, 1, channels=(16, 32), token_dim=8, norm_groups=8))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval().requires_grad_(False)


def test_a_bf16_denoiser_takes_and_gives_fp32(denoiser):
    given = torch.randn(3, 2, 6, 4), torch.rand(3), torch.randn(3, 1, 8)
    exact = denoiser(*given)
    halved = denoiser.to(torch.bfloat16)(*given)
    assert halved.dtype == torch.float32
    assert 0 < (halved - exact).norm() < 0.03 * exact.norm()


def test_a_bf16_autoencoder_takes_and_gives_fp32_whole_and_in_tiles():
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(3, (8, 16), latent_channels=2)).eval()
    network.requires_grad_(False)
    images = torch.rand(1, 1, 32, 24, 16) * 2 - 1
    exact = encode(network, images, 2**40)
    shown = decode(network, exact, 2**40)
    network.to(torch.bfloat16)
    cut = (4, 6, 4)
    for latents in (encode(network, images, 2**40), encode_in_tiles(network, images, cut)):
        assert latents.dtype == torch.float32
        assert 0 < (latents - exact).norm() < 0.03 * exact.norm()
    for volumes in (decode(network, exact, 2**40), decode_in_tiles(network, exact, cut)):
        assert volumes.dtype == torch.float32
        assert 0 < (volumes - shown).norm() < 0.05 * shown.norm()
