import math

import pytest
import torch

from medsynth.models import memory
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.memory import FIXED_BYTES, SHARE, bytes_per_latent, decode, encode, plan_tiles
from medsynth.models.tiling import margin, spans

CONFIG = AutoencoderConfig(3, (8, 16), latent_channels=2)
SIDES = (40, 56, 24)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Autoencoder(CONFIG).eval().requires_grad_(False)


def need(latents):
    return math.ceil((latents * bytes_per_latent(CONFIG) + FIXED_BYTES) / SHARE) + 1


def test_what_fits_is_left_whole(network):
    assert plan_tiles(network, "decoder", 1, SIDES, need(math.prod(SIDES))) == SIDES
    assert plan_tiles(network, "decoder", 2, SIDES, need(math.prod(SIDES))) != SIDES


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_every_tile_fits_and_less_memory_is_more_work(network, share):
    beyond, works = margin(network.network.decoder), []
    for latents in (int(share * math.prod(SIDES)), 2 * int(share * math.prod(SIDES))):
        cores = plan_tiles(network, "decoder", 1, SIDES, need(latents))
        cut = [spans(*each, beyond) for each in zip(SIDES, cores, strict=True)]
        reads = [[span.stop - span.start for span in axis] for axis in cut]
        assert math.prod(map(max, reads)) <= latents
        works.append(math.prod(map(sum, reads)))
    assert works[0] >= works[1]


def test_too_little_memory_is_said_plainly(network):
    with pytest.raises(ValueError, match=r"smallest tile .* needs \d+ MiB, and 150 MiB are free"):
        plan_tiles(network, "decoder", 1, SIDES, 150 * 2**20)


def test_the_way_there_and_back_is_the_same_in_any_memory(network):
    images, tight = torch.randn(1, 1, 128, 24, 28), need(20 * 6 * 7)
    latents, whole = encode(network, images, tight), network.encode(images)
    torch.testing.assert_close(latents, whole, atol=2e-5, rtol=1e-5)
    image = decode(network, whole, tight)
    torch.testing.assert_close(image, network.decode(whole), atol=2e-5, rtol=1e-5)


def test_tiles_are_used_only_where_they_must(network, monkeypatch):
    used = []
    latents = torch.randn(1, 2, 32, 6, 7)
    monkeypatch.setattr(
        memory, "decode_in_tiles", lambda *given: used.append(given[2]) or latents[:, :1]
    )
    decode(network, latents, need(32 * 6 * 7))
    assert used == []
    decode(network, latents, need(20 * 6 * 7))
    assert used == [plan_tiles(network, "decoder", 1, (32, 6, 7), need(20 * 6 * 7))]
