"""Clipped and noisy gradients: one aggregated gradient a subject, whatever it brings.

DP-SGD: Abadi et al., "Deep Learning with Differential Privacy", CCS 2016. Noise multiplicity:
Dockhorn et al., "Differentially Private Diffusion Models", TMLR 2023. Per-subject gradients come
from torch.func, not from hooks: those are silently wrong for channels-last convolutions.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

CHUNK = 8
"""Subjects whose gradients are held at a time."""

Forward = Callable[..., Tensor]
SubjectLoss = Callable[..., Tensor]
"""(forward, *inputs of one subject's draws) to the mean loss of these draws."""
Gradients = dict[str, Tensor]


def sum_clipped(
    network: nn.Module, loss: SubjectLoss, inputs: tuple[Tensor, ...], clip_norm: float
) -> Gradients:
    """The sum over subjects of gradients, each scaled down to the clipping norm.

    `inputs` are tensors (subjects, draws, ...).
    """
    weights = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for chunk in zip(*(torch.split(part, CHUNK) for part in inputs), strict=True):
        if not len(chunk[0]):
            continue
        gradients = _per_subject(network, loss, weights, chunk)
        factors = _factors(gradients, clip_norm)
        for name, gradient in gradients.items():
            total[name] += torch.einsum("s,s...->...", factors, gradient)
    return total


def _per_subject(
    network: nn.Module, loss: SubjectLoss, weights: Gradients, inputs: tuple[Tensor, ...]
) -> Gradients:
    def of_one(weights: Gradients, *parts: Tensor) -> Tensor:
        return loss(lambda *args: functional_call(network, weights, args), *parts)

    every = vmap(grad(of_one), in_dims=(None, *[0] * len(inputs)), randomness="different")
    with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for batches of batches
        gradients: Gradients = every(weights, *inputs)
    # What is not finite is no gradient, and would reach everybody's weights unclipped.
    return {name: torch.nan_to_num(g, 0.0, 0.0, 0.0) for name, g in gradients.items()}


def _factors(gradients: Gradients, clip_norm: float) -> Float[Tensor, " subjects"]:
    """min(1, C / norm) of each subject, over all parameters at once."""
    squares = [g.double().square().flatten(1).sum(dim=1) for g in gradients.values()]
    norms = torch.stack(squares).sum(dim=0).sqrt()
    return (clip_norm / norms.clamp_min(clip_norm)).float()


def add_gaussian(gradients: Gradients, sd: float, draw: Callable[[Tensor], Tensor]) -> Gradients:
    """Gradients with independent noise; `draw` gives standard normal numbers of a tensor's shape.

    Without noise nothing is drawn, which only a test of the judge wants.
    """
    if sd == 0:
        return gradients
    return {name: g + sd * draw(g) for name, g in gradients.items()}
