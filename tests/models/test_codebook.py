import pytest
import torch

from medsynth.models.codebook import Codebook


@pytest.fixture
def codebook():
    torch.manual_seed(0)
    return Codebook(2, 16, 3)


def test_every_vector_gets_its_nearest_code(codebook):
    latents = torch.randn(2, 3, 5, 4)
    codes = codebook.quantizer.embedding.weight
    vectors = latents.permute(0, 2, 3, 1).unsqueeze(3)
    nearest = (vectors - codes).square().sum(-1).argmin(3)
    assert torch.equal(codebook.indices(latents), nearest)
    expected = codes[nearest].permute(0, 3, 1, 2)
    assert torch.equal(codebook.nearest(latents), expected)
    torch.testing.assert_close(codebook.eval()(latents)[0], expected)


def test_the_latents_get_the_gradient_of_their_codes(codebook):
    latents = torch.randn(2, 3, 5, 4, requires_grad=True)
    weights = torch.randn(2, 3, 5, 4)
    (codebook(latents)[0] * weights).sum().backward()
    assert torch.equal(latents.grad, weights)


def test_codes_that_nobody_chooses_move_to_where_latents_are(codebook):
    centers = 5 * torch.randn(16, 3) + 20
    assert len(codebook.indices(centers.T.reshape(1, 3, 4, 4)).unique()) < 8
    for _ in range(500):
        latents = centers[torch.randint(16, (256,))] + 0.01 * torch.randn(256, 3)
        codebook(latents.T.reshape(1, 3, 16, 16))
    assert len(codebook.indices(centers.T.reshape(1, 3, 4, 4)).unique()) >= 10


def test_codes_stand_still_outside_training(codebook):
    before = codebook.quantizer.embedding.weight.clone()
    codebook.eval()(torch.randn(2, 3, 5, 4))
    assert torch.equal(codebook.quantizer.embedding.weight, before)


def test_autocast_chooses_the_same_codes(codebook):
    latents = torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codebook.eval()(latents)[0], codebook(latents)[0])
        chosen = codebook(latents)[0]
    torch.testing.assert_close(chosen, codebook.nearest(latents))
