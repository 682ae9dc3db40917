import pytest
import torch

from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.objective import Objective

SMALL = {"channels": (16, 16), "token_dim": 8, "norm_groups": 8}


@pytest.mark.parametrize("space", [(10, 6), (6, 10, 4)])
def test_a_fresh_network_says_nothing_about_unequal_sides(space):
    network = Denoiser(DenoiserConfig(len(space), 3, 2, **SMALL))
    velocity = network(torch.randn(2, 3, *space), torch.rand(2), torch.randn(2, 2, 8))
    assert velocity.shape == (2, 3, *space)
    assert (velocity == 0).all()


@pytest.mark.parametrize("target", ["flow", "epsilon", "sample", "v"])
def test_a_tiny_network_overfits_eight_latents(target):
    torch.manual_seed(0)
    objective = Objective.of(target)
    network = Denoiser(DenoiserConfig(2, 2, 1, **SMALL))
    optimizer = torch.optim.AdamW(network.parameters(), lr=8e-3)
    x0, condition = torch.randn(8, 2, 4, 4), torch.randn(8, 1, 8)
    losses = []
    for _ in range(120):
        t, noise = objective.draw_times(8), torch.randn_like(x0)
        output = network(objective.add_noise(x0, noise, t), t, condition)
        loss = (output - objective.learned(x0, noise, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_the_network_sees_times_as_it_was_trained_to():
    network = Denoiser(DenoiserConfig(2, 2, 1, **SMALL, time_scale=50.0, time_offset=-1.0))
    seen = []
    network.network.forward = lambda x, timesteps, **kwargs: seen.append(timesteps) or x
    network(torch.zeros(2, 2, 4, 4), torch.tensor([0.02, 1.0]), torch.zeros(2, 1, 8))
    torch.testing.assert_close(seen[0], torch.tensor([0.0, 49.0]))


def test_only_a_network_that_knows_spans_reads_them():
    torch.manual_seed(0)
    x, t, condition = torch.randn(3, 2, 4, 4), torch.rand(3), torch.randn(3, 1, 8)
    for knows_spans in (False, True):
        network = Denoiser(DenoiserConfig(2, 2, 1, **SMALL, knows_spans=knows_spans))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        near, far = (network(x, t, condition, torch.full((3,), span)) for span in (0.0, 0.5))
        assert torch.equal(network(x, t, condition), near)
        assert torch.equal(near, far) != knows_spans
