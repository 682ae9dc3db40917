import pytest
import torch

from medsynth.core.errors import UsageProblem
from medsynth.models.perceptual import FeatureConfig, FeatureNetwork
from medsynth.train import features
from medsynth.train.features import FILE, learned_features, read_local_features, spoil


def scans(num):
    return torch.nn.functional.interpolate(torch.randn(num, 1, 8, 8), (16, 16)).clamp(-1, 1)


def test_features_are_taught_once_and_found_again(tmp_path, tiny, monkeypatch):
    config = tiny.model_copy(update={"perceptual_steps": 4, "perceptual_weight": 1.0})
    taught = learned_features(scans(12), scans(4), config, 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert not any(p.requires_grad for p in taught.parameters())
    monkeypatch.setattr(features, "_taught", None)
    again = learned_features(scans(12), scans(4), config, 0, tmp_path)
    for name, tensor in taught.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_local_file_takes_the_place_of_teaching(tmp_path, tiny):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    config = tiny.model_copy(update={"perceptual_steps": 4})
    taught = learned_features(scans(12), scans(4), config, 0, tmp_path / "a")
    local = config.model_copy(update={"perceptual_weights": tmp_path / "a" / FILE})
    read = learned_features(scans(12), scans(4), local, 1, tmp_path / "b")
    assert torch.equal(read.head.weight, taught.head.weight)
    assert (tmp_path / "b" / FILE).read_bytes() == (tmp_path / "a" / FILE).read_bytes()


@pytest.mark.parametrize("content", [None, b"no tensors"])
def test_another_file_is_refused_without_naming_it(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageProblem, match="features of a network like ours") as refused:
        read_local_features(path, FeatureNetwork(FeatureConfig(2)))
    assert "weights.safetensors" not in str(refused.value)


@pytest.mark.parametrize("space", [(16, 12), (8, 9, 12)])
def test_images_lose_detail_or_gain_noise_by_what_is_told(space, monkeypatch):
    images = torch.randn(2, 1, *space)
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.zeros(shape))
    same, strengths = spoil(images)
    assert strengths.shape == (2, 3)
    torch.testing.assert_close(same, images)
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.tensor([[1.0, 1.0, 0.0]] * 2))
    soft, _ = spoil(images)
    assert soft.std() < 0.5 * images.std()
