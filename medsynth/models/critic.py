"""The critic of adversarial training: which patches look like a scan, which like a reconstruction.

Reference: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017
(patches); Lim and Ye, "Geometric GAN", 2017 (hinge losses). The network is MONAI's; its hinge
squashes scores first, ours are the paper's.
"""

from jaxtyping import Float
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


class Critic(nn.Module):
    """Scores of overlapping patches, high for scans."""

    def __init__(self, spatial_dims: int, channels: int = 32, num_levels: int = 2) -> None:
        super().__init__()
        # Group norm: statistics of a batch of a few scans would tell scans from reconstructions.
        self.network = PatchDiscriminator(
            spatial_dims,
            channels,
            in_channels=1,
            num_layers_d=num_levels,
            norm=("GROUP", {"num_groups": 8}),
        )

    def forward(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n 1 *patches"]:
        """A score per patch."""
        scores: Tensor = self.network(images)[-1]
        return scores.float()

    def loss(
        self, scans: Float[Tensor, "n 1 *space"], reconstructions: Float[Tensor, "n 1 *space"]
    ) -> Float[Tensor, ""]:
        """What the critic lowers: scans below 1 and reconstructions above -1 (hinge)."""
        false = self(reconstructions)
        return (functional.relu(1 - self(scans)) + functional.relu(1 + false)).mean()

    def disbelief(self, reconstructions: Float[Tensor, "n 1 *space"]) -> Float[Tensor, ""]:
        """What the autoencoder lowers; its gradient passes the critic's weights by."""
        weights = {name: tensor.detach() for name, tensor in self.named_parameters()}
        scores: Tensor = functional_call(self, weights, (reconstructions,))
        return -scores.mean()
