"""Settings of a comparison."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class GanConfig(BaseModel):
    """Generator and discriminator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(128, 96, 64, 32), min_length=1)
    """Channels of the generator from the coarsest level to half resolution, multiples of 16."""
    noise_dim: int = Field(default=64, ge=1)
    """Random numbers behind a scan."""
    style_dim: int = Field(default=128, ge=1)
    """Width of what scales and shifts every layer: noise and attributes together."""
    discriminator_widths: tuple[int, ...] = Field(default=(32, 64, 96, 128), min_length=1)
    """Channels of the discriminator from half resolution on, each level half the sides."""
    batch: int = Field(default=16, ge=2)
    """Scans per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Rate of both networks."""
    penalty: float = Field(default=0.1, ge=0)
    """Weight of half the squared gradient at real and at generated scans (R1 and R2)."""
    penalty_every: int = Field(default=4, ge=1)
    """Steps between penalties, each weighted by as much."""
    spread_weight: float = Field(default=1.0, ge=0)
    """Weight of the share of real scans' differences that is missing among generated ones."""

    @model_validator(mode="after")
    def _fits(self) -> "GanConfig":
        levels, judged = len(self.widths), len(self.discriminator_widths)
        if judged > levels:
            raise ValueError(
                "the discriminator must not have more levels than the generator, "
                f"got {judged} and {levels}"
            )
        return self


class AutoregressiveConfig(BaseModel):
    """The transformer; the shape of its VQ autoencoder is `[train]`'s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=192, ge=8)
    """Width of the transformer."""
    depth: int = Field(default=6, ge=1)
    """Its blocks."""
    heads: int = Field(default=6, ge=1)
    """Its attention heads."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of its token embeddings."""
    batch: int = Field(default=8, ge=1)
    """Scans per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of its learning rate."""


class RivalsConfig(BaseModel):
    """How long every model may learn, and the shapes of the rivals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float = Field(default=10.0, gt=0)
    """Training time of each model."""
    first_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of it for the first of two networks, the autoencoder."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Seeds of the trainings; every number is the mean over them."""
    token_dim: int = Field(default=64, ge=4)
    """Width of the GAN's attribute tokens."""
    gan: GanConfig = GanConfig()
    """The GAN."""
    autoregressive: AutoregressiveConfig = AutoregressiveConfig()
    """The transformer."""
