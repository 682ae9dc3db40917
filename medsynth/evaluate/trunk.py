"""The small convolutional network under the readers and the two-sample test."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Images = Float[np.ndarray, "n i j k"]


class Trunk(nn.Module):
    """Scans (n, 1, i, j[, k]) in [-1, 1] to features (n, num_features)."""

    def __init__(self, widths: Sequence[int], num_features: int, *, is_3d: bool) -> None:
        super().__init__()
        conv: type[nn.Module] = nn.Conv3d if is_3d else nn.Conv2d
        layers: list[nn.Module] = []
        previous = 1
        for width in widths:
            layers += [conv(previous, width, 3, stride=2, padding=1), nn.GroupNorm(8, width)]
            layers += [nn.SiLU(), conv(width, width, 3, padding=1), nn.GroupNorm(8, width)]
            layers += [nn.SiLU()]
            previous = width
        self.layers = nn.Sequential(*layers)
        self.neck = nn.Linear(2 * previous, num_features)

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        maps = self.layers(x).flatten(2)
        # The mean sees texture, the maximum sees one small lesion.
        return F.silu(self.neck(torch.cat([maps.mean(2), maps.amax(2)], 1)))


def to_tensor(images: Images) -> Tensor:
    """Scans in [0, 1] as the network sees them."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None] * 2 - 1
    return x[..., 0] if images.shape[3] == 1 else x


def augment(x: Tensor, max_shift: int) -> Tensor:
    """A small shift, gain, offset and noise: what tells two scanners apart, not two people."""
    num_axes = x.ndim - 2
    shifts = torch.randint(-max_shift, max_shift + 1, (len(x), num_axes)).tolist()
    axes = tuple(range(1, x.ndim - 1))
    moved = [torch.roll(one, shift, axes) for one, shift in zip(x, shifts, strict=True)]
    shape = (len(x),) + (1,) * (x.ndim - 1)
    gain, offset = 1 + 0.05 * torch.randn(shape), 0.02 * torch.randn(shape)
    return torch.stack(moved) * gain + offset + 0.01 * torch.randn_like(x)
