import numpy as np
import pytest
import torch

from medsynth.models.synthesizer import LatentScale
from medsynth.train.forecast import Memory
from medsynth.train.latent_rows import LatentRows

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path, rng):
    latents = rng.normal(3, 2, (9, 2, 3, 5)).astype(np.float16)
    np.save(tmp_path / "latents.npy", latents)
    return np.load(tmp_path / "latents.npy", mmap_mode="r")


def test_held_and_mapped_rows_are_equal_bit_for_bit(mapped, monkeypatch):
    scale = LatentScale(np.array([3.0, 2.5]), np.array([2.0, 1.5]))
    held = LatentRows.of(mapped, scale, CPU)
    monkeypatch.setattr(Memory, "available", lambda memory: 2 * mapped.nbytes - 1)
    from_disk = LatentRows.of(mapped, scale, CPU)
    assert held.held is not None
    assert from_disk.held is None
    for rows in (torch.tensor([8, 0, 0, 3]), torch.arange(9)):
        assert torch.equal(held.take(rows), from_disk.take(rows))
    expected = scale.apply(torch.from_numpy(np.array(mapped, np.float32)))
    assert torch.equal(held.all(), expected)
    assert len(from_disk) == 9
