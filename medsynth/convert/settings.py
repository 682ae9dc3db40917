"""What names and shapes of weights do not show, by the names of the `generative` package.

The defaults are the package's own. Told wrongly, a network fits and is wrong: proof by comparison
takes the same settings on both sides.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Unseen(BaseModel):
    """Settings of one network that its weights do not show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def assumed(self) -> dict[str, Any]:
        """What nobody told: the package's defaults."""
        told = self.model_fields_set
        return {name: value for name, value in self.model_dump().items() if name not in told}


class UnseenKL(Unseen):
    """Of an AutoencoderKL."""

    norm_num_groups: int = Field(default=32, ge=1)
    """Groups of each normalization."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Added to each variance."""
    use_convtranspose: bool = False
    """Whether the decoder's sides were doubled by transposed convolutions."""


class UnseenVQ(Unseen):
    """Of a VQVAE."""

    downsample_parameters: tuple[tuple[int, int, int, int], ...] = ()
    """Stride, kernel, dilation and padding by level; empty is (2, the kernel seen, 1, 1)."""
    upsample_parameters: tuple[tuple[int, int, int, int, int], ...] = ()
    """Stride, kernel, dilation, padding and output padding by level; empty is (2, the kernel seen,
    1, 1, 0)."""
    act: str | None = "RELU"
    """Activation after each convolution."""
    output_act: str | None = None
    """Activation of the output."""


class UnseenUNet(Unseen):
    """Of a DiffusionModelUNet or a ControlNet."""

    norm_num_groups: int = Field(default=32, ge=1)
    """Groups of each normalization."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Added to each variance."""
    num_head_channels: int | tuple[int, ...] = 8
    """Channels of one attention head, for all levels or each."""
