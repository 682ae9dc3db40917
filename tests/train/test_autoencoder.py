import torch

from medsynth.train.autoencoder import within


def test_beyond_the_end_at_which_a_scan_lies_costs_nothing_and_learns_nothing():
    target = torch.tensor([-1.0, -1.0, -0.5, 1.0, 0.5])
    output = torch.tensor([-1.3, -0.8, -1.2, 1.4, 1.4], requires_grad=True)
    settled = within(output, target)
    assert settled.tolist() == torch.tensor([-1.0, -0.8, -1.2, 1.0, 1.4]).tolist()
    settled.sum().backward()
    assert output.grad is not None
    assert output.grad.tolist() == [0, 1, 1, 0, 1]
