import pytest
import torch

from medsynth.models.reconstruction import ReconstructionLoss


def test_a_small_lesion_weighs_more_than_the_same_error_spread_out():
    target = torch.zeros(1, 1, 32, 32)
    lesion = target.clone()
    lesion[..., :3, :3] = 1
    spread = target + 9 / 32**2
    loss = ReconstructionLoss()
    assert loss(lesion, target)["l1"] == pytest.approx(float(loss(spread, target)["l1"]), abs=1e-6)
    assert loss(lesion, target)["loss"] > 5 * loss(spread, target)["loss"]
