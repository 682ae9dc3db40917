import numpy as np
import pytest
import torch

from medsynth.models.frame import Frame


@pytest.mark.parametrize(
    ("shape", "padded"),
    [((35, 51, 33), (40, 56, 40)), ((20, 13, 1), (24, 16)), ((8, 8, 8), (8, 8, 8))],
)
def test_odd_sides_are_padded_and_cropped_exactly(rng, shape, padded):
    volumes = rng.random((2, *shape), dtype=np.float32)
    frame = Frame(shape, 8)
    tensor = frame.to_tensor(volumes)
    assert tensor.shape == (2, 1, *padded)
    np.testing.assert_allclose(frame.to_volumes(tensor), volumes, atol=1e-6)


def test_padding_is_background():
    tensor = Frame((3, 4, 1), 8).to_tensor(np.ones((1, 3, 4, 1), np.float32))
    assert tensor.min() == -1
    assert (tensor == 1).sum() == 12


def test_volumes_leave_within_their_range():
    volumes = Frame((8, 8, 1), 8).to_volumes(torch.randn(1, 1, 8, 8) * 5)
    assert volumes.min() == 0
    assert volumes.max() == 1


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="must have shape"):
        Frame((8, 8, 1), 8).to_tensor(np.zeros((1, 9, 8, 1), np.float32))
