import pytest
import torch

from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.objective import add_noise, draw_times, velocity

SMALL = {"channels": (16, 16), "token_dim": 8, "norm_groups": 8}


@pytest.mark.parametrize("space", [(10, 6), (6, 10, 4)])
def test_a_fresh_network_says_nothing_about_unequal_sides(space):
    network = Denoiser(DenoiserConfig(len(space), 3, 2, **SMALL))
    velocity = network(torch.randn(2, 3, *space), torch.rand(2), torch.randn(2, 2, 8))
    assert velocity.shape == (2, 3, *space)
    assert (velocity == 0).all()


def test_a_tiny_network_overfits_eight_latents():
    torch.manual_seed(0)
    network = Denoiser(DenoiserConfig(2, 2, 1, **SMALL))
    optimizer = torch.optim.AdamW(network.parameters(), lr=8e-3)
    x0, condition = torch.randn(8, 2, 4, 4), torch.randn(8, 1, 8)
    losses = []
    for _ in range(120):
        t, noise = draw_times(8), torch.randn_like(x0)
        u = network(add_noise(x0, noise, t), t, condition)
        loss = (u - velocity(x0, noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
