import dataclasses

import pytest
import torch

from medsynth.compress.prune import PruneConfig, prune, tune
from medsynth.compress.slim import sizes_of, sliced, slim_config, spaces_of
from medsynth.compress.ways import draw_ways
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.synthesizer import SamplerConfig
from medsynth.train.report import unheard

CONFIG = DenoiserConfig(2, 2, 2, channels=(32, 32, 32), token_dim=8, norm_groups=8)
GIVEN = torch.randn(3, 2, 8, 12), torch.rand(3), torch.randn(3, 2, 8)


def network(config):
    torch.manual_seed(0)
    made = Denoiser(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def ways(teacher, requests):
    return draw_ways(teacher, requests, 3, SamplerConfig(8))


def test_every_side_of_every_weight_is_as_long_as_its_channels():
    for config in (CONFIG, dataclasses.replace(CONFIG, channels=(16, 32, 64), num_res_blocks=2)):
        made = network(config)
        sizes = sizes_of(made)
        for name, sides in spaces_of(made).items():
            shape = made.state_dict()[name].shape
            for side, space in enumerate(sides):
                assert not space or sum(sizes[part] for part in space) == shape[side], name


def test_all_channels_kept_is_the_same_network():
    dense = network(CONFIG)
    config = dataclasses.replace(CONFIG, time_features=32)
    everything = {name: torch.arange(size) for name, size in sizes_of(dense).items()}
    torch.testing.assert_close(
        sliced(dense, Denoiser(config).eval(), everything)(*GIVEN), dense(*GIVEN)
    )


def test_channels_that_are_zero_can_go_and_nothing_changes():
    """Every second pair of norm groups is silent, and so is what attention writes."""
    dense = network(CONFIG)
    gone = {n: torch.arange(s) // 8 % 2 == 1 for n, s in sizes_of(dense).items()}
    weights = dense.state_dict()
    for name, sides in spaces_of(dense).items():
        for side, space in enumerate(sides):
            if space:
                mask = torch.cat([gone[part] for part in space])
                weights[name].movedim(side, 0)[mask] = 0
        if "proj_out" in name:
            weights[name][:] = 0
    slim = Denoiser(slim_config(CONFIG, 0.5)).eval()
    kept = {name: (~mask).nonzero().flatten() for name, mask in gone.items()}
    got = sliced(dense, slim, kept)(*GIVEN)
    torch.testing.assert_close(got, dense(*GIVEN), atol=1e-4, rtol=1e-4)
    other = {name: mask.nonzero().flatten() for name, mask in gone.items()}
    assert (sliced(dense, slim, other)(*GIVEN) - got).abs().max() > 0.01


def test_silent_channels_are_those_that_go(teacher, ways):
    dense = network(dataclasses.replace(teacher.synthesizer.denoiser.config, channels=(16, 16)))
    for name, sides in spaces_of(dense).items():
        for side, space in enumerate(sides):
            for at, part in enumerate(space):
                if part == "level 1":
                    rows = dense.state_dict()[name].movedim(side, 0)
                    rows[16 * at + 4 : 16 * at + 12] = 0
    slim = prune(dense, ways, 0.5, seed=0)
    weight = slim.state_dict()["network.middle_block.resnet_1.conv1.conv.weight"]
    assert (weight.flatten(1).norm(dim=1) > 0).all()


def test_a_tuned_slim_network_follows_its_teacher(teacher, ways, tmp_path):
    config = PruneConfig(num_steps=60, batch=16, learning_rate=2e-3)
    dense = teacher.synthesizer.denoiser
    slim = prune(dense, ways, config.keep, seed=0)
    assert slim.config.channels == (8, 16)
    given = ways.points[:8, 4], torch.full((8,), 0.5), ways.conditions[:8]
    with torch.inference_mode():
        before = (slim(*given) - dense(*given)).square().mean()
    made, progressed = tune(teacher, slim, ways, config, seed=0, folder=tmp_path, on_step=unheard)
    with torch.inference_mode():
        after = (made.synthesizer.denoiser(*given) - dense(*given)).square().mean()
    assert after < 0.7 * before
    assert progressed.best_step > 0
    assert made.draw([{}], [0], seed=0).shape == (1, 12, 10, 1)


def test_groups_are_kept_in_pairs():
    assert slim_config(CONFIG, 0.7).channels == (24, 24, 24)
    assert slim_config(CONFIG, 0.01).norm_groups == 2
    with pytest.raises(ValueError, match="norm_groups must be even"):
        slim_config(dataclasses.replace(CONFIG, norm_groups=1), 0.5)
