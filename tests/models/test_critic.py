import pytest
import torch

from medsynth.models.critic import Critic


class Fixed(Critic):
    """A critic whose scores are the images."""

    def forward(self, images):
        return images


def test_a_sure_critic_has_nothing_to_learn():
    critic, scans = Fixed(2, 8), torch.full((1, 1, 2, 2), 1.5)
    assert critic.loss(scans, -scans) == 0
    assert critic.loss(-scans, scans) == 5
    assert critic.loss(0 * scans, 0 * scans) == 2


@pytest.mark.parametrize("space", [(16, 20), (16, 16, 20)])
def test_disbelief_pulls_at_reconstructions_and_not_at_the_critic(space):
    critic, images = Critic(len(space), 8), torch.randn(2, 1, *space, requires_grad=True)
    critic.disbelief(images).backward()
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in critic.parameters())


def test_a_scan_is_judged_alone():
    critic, images = Critic(2, 8), torch.randn(3, 1, 16, 16)
    torch.testing.assert_close(critic(images)[:1], critic(images[:1]))
