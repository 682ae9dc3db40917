import pytest
import torch

from medsynth.models.perceptual import FeatureConfig, FeatureNetwork
from medsynth.models.reconstruction import halve


@pytest.mark.parametrize("space", [(16, 12), (8, 12, 9)])
def test_the_distance_is_zero_for_equals_and_grows_with_what_is_lost(space):
    torch.manual_seed(0)
    network = FeatureNetwork(FeatureConfig(len(space), (8, 16)))
    images = torch.randn(3, 1, *space)
    soft = torch.nn.functional.interpolate(halve(images), space)
    distances = [
        float(network.distance(images.lerp(soft, w), images).detach()) for w in (0, 0.3, 1)
    ]
    assert distances[0] == 0
    assert 0 < distances[1] < distances[2]


def test_only_the_reconstruction_is_pulled():
    network = FeatureNetwork(FeatureConfig(2, (8, 16))).requires_grad_(False)
    output, target = (torch.randn(2, 1, 8, 8, requires_grad=True) for _ in range(2))
    network.distance(output, target).backward()
    assert output.grad.abs().sum() > 0
    assert target.grad is None
