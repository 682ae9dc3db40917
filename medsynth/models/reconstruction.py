"""How far a reconstruction is from its scan: voxels, the worst voxels, edges at two scales."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class ReconstructionLoss:
    """L1 + the worst voxels + edges at two scales.

    Small lesions are a hundredth of an image: the mean forgets them, the worst `hard_share` of
    the voxels and their edges do not.
    """

    edge_weight: float = 1.0
    hard_weight: float = 0.25
    hard_share: float = 0.05

    def __call__(
        self, output: Float[Tensor, "n c *space"], target: Float[Tensor, "n c *space"]
    ) -> dict[str, Tensor]:
        """`loss` and its parts."""
        error = (output - target).abs()
        count = max(1, int(self.hard_share * error[0].numel()))
        l1, hard = error.mean(), error.flatten(1).topk(count, dim=1).values.mean()
        edges = edge_error(output, target) + edge_error(halve(output), halve(target))
        loss = l1 + self.hard_weight * hard + self.edge_weight * edges
        return {"loss": loss, "l1": l1, "hard": hard, "edges": edges}


def edge_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the forward differences, summed over the axes."""
    difference = output - target
    axes = range(2, difference.ndim)
    return torch.stack([difference.diff(dim=axis).abs().mean() for axis in axes]).sum()


def halve(images: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *half"]:
    """Images averaged over blocks of two voxels a side; an odd last row falls away."""
    pool = functional.avg_pool2d if images.ndim == 4 else functional.avg_pool3d
    return pool(images, 2)
