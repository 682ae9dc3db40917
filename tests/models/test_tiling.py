"""Tiles against the whole: equal everywhere, and where tiles meet no worse than elsewhere."""

import pytest
import torch

from medsynth.models import tiling
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.tiling import decode_in_tiles, encode_in_tiles, spans

SHAPES = [
    (AutoencoderConfig(2, (8, 16), latent_channels=3), (25, 18), (7, 18)),
    (AutoencoderConfig(2, (8, 8), 4, 2, kind="vq", num_codes=16), (19, 21), (6, 9)),
    (AutoencoderConfig(2, (8, 8, 16), 2, 2, num_res_blocks=2), (22, 14), (5, 4)),
    (AutoencoderConfig(3, (8, 8), latent_channels=2), (7, 14, 5), (3, 4, 5)),
]


def network(config):
    """Untrained, with norms whose weights are their own."""
    torch.manual_seed(0)
    ours = Autoencoder(config).eval().requires_grad_(False)
    for name, parameter in ours.named_parameters():
        if "norm" in name or parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return ours


def uneven(*shape):
    """Noise that grows brighter along every axis: a tile's statistics differ from the whole's."""
    slopes = [torch.linspace(0, 2, side) for side in shape[2:]]
    return torch.randn(shape) + sum(torch.meshgrid(*slopes, indexing="ij"))


def seam(images, core):
    """Mean step between voxels across the borders of tiles, beside the mean step elsewhere."""
    steps = images.diff(dim=2).abs().flatten(3).mean((0, 1, 3))
    at = torch.zeros(len(steps), dtype=torch.bool)
    at[core - 1 :: core] = True
    return float(steps[at].mean() / steps[~at].mean())


@pytest.mark.parametrize(("config", "sides", "cores"), SHAPES)
def test_decoding_in_tiles_is_decoding(config, sides, cores):
    ours, latents = network(config), uneven(2, config.latent_channels, *sides)
    whole = ours.decode(latents)
    torch.testing.assert_close(decode_in_tiles(ours, latents, cores), whole, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("config", "sides", "cores"), SHAPES)
def test_encoding_in_tiles_is_encoding(config, sides, cores):
    ours = network(config)
    images = uneven(2, 1, *(side * config.factor for side in sides))
    whole = ours.encode(images)
    torch.testing.assert_close(encode_in_tiles(ours, images, cores), whole, atol=2e-5, rtol=1e-5)


def test_tiles_leave_no_seam_and_naive_ones_do():
    config, core = AutoencoderConfig(2, (8, 16)), 6
    ours, latents = network(config), uneven(1, 4, 30, 12).sort(dim=2).values
    naive = torch.cat([ours.decode(part) for part in latents.split(core, 2)], 2)
    whole, tiled = ours.decode(latents), decode_in_tiles(ours, latents, (core, 12))
    at = core * config.factor
    assert seam(tiled, at) == pytest.approx(seam(whole, at), rel=1e-3)
    assert seam(naive, at) > 1.5 * seam(whole, at)


@pytest.mark.parametrize(("config", "sides", "cores"), SHAPES[:1])
def test_the_margin_is_as_wide_as_needed_and_no_wider(config, sides, cores, monkeypatch):
    ours, latents = network(config), uneven(1, config.latent_channels, *sides)
    least = tiling.margin(ours.network.decoder)
    monkeypatch.setattr(tiling, "margin", lambda half: least - 1)
    error = (decode_in_tiles(ours, latents, cores) - ours.decode(latents)).abs().max()
    assert error > 1e-4


def test_statistics_of_tiles_alone_would_show(monkeypatch):
    config = AutoencoderConfig(2, (8, 16))
    ours, latents = network(config), uneven(1, 4, 30, 12)
    monkeypatch.setattr(tiling._WholeNorm, "forward", lambda self, x: self.norm(x))
    monkeypatch.setattr(tiling._WholeNorm, "hold", lambda self: None)
    error = (decode_in_tiles(ours, latents, (6, 12)) - ours.decode(latents)).abs().max()
    assert error > 0.01


def test_cores_cover_a_side_once_and_margins_stop_at_the_border():
    cut = spans(7, 3, 2)
    assert [(s.core_start, s.core_stop) for s in cut] == [(0, 3), (3, 6), (6, 7)]
    assert [(s.start, s.stop) for s in cut] == [(0, 5), (1, 7), (4, 7)]


def test_tiling_leaves_the_network_as_it_was():
    config = AutoencoderConfig(2, (8, 8))
    ours, latents = network(config), torch.randn(1, 4, 9, 6)
    before = ours.decode(latents)
    decode_in_tiles(ours, latents, (3, 6))
    assert torch.equal(ours.decode(latents), before)
    assert not [m for m in ours.modules() if isinstance(m, tiling._WholeNorm)]


def test_tiles_follow_autocast():
    ours, latents = network(AutoencoderConfig(2, (8, 8))), torch.randn(1, 4, 12, 8)
    with torch.autocast("cpu", torch.bfloat16):
        tiled = decode_in_tiles(ours, latents, (4, 8))
        whole = ours.decode(latents)
    torch.testing.assert_close(tiled, whole.float(), atol=0.2, rtol=0.1)
