"""Settings of both trainings."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsynth.models.autoencoder import AutoencoderConfig, Kind
from medsynth.models.denoiser import DenoiserConfig
from medsynth.models.objective import Objective, Target
from medsynth.models.reconstruction import ReconstructionLoss
from medsynth.train.dp_config import DpConfig
from medsynth.train.movement import Movement
from medsynth.train.recipe import Precision, Recipe, Schedule

FEATURES_RATE = 2e-3
"""Peak of the learning rate of the perceptual loss's features."""


class TrainConfig(BaseModel):
    """Both networks' shapes, steps and rates; the defaults suit some hundred 64x64 images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    autoencoder_kind: Kind = "kl"
    """Latents from a normal distribution (kl), or rounded to a codebook when decoded (vq)."""
    autoencoder_channels: tuple[int, ...] = (48, 96)
    """Channels per level of the autoencoder; each level after the first halves the sides."""
    autoencoder_patch: int = Field(default=2, ge=1, le=4)
    """Voxels of a side that become channels first; with two levels 2 gives factor 4, 4 gives 8."""
    autoencoder_cosines: bool = False
    """Whether the autoencoder (kl) starts as the lowest cosines of every block of voxels."""
    num_codes: int = Field(default=512, ge=2)
    """Codes of a codebook."""
    latent_channels: int = Field(default=4, ge=1)
    """Channels of the latents."""
    coarse_first: float = Field(default=0.0, ge=0, le=1)
    """At 0 all channels of the latents are equally strong for the denoiser, and rise from the noise
    together; at 1 they keep their proportions, and strong ones, which are coarse, come first."""
    autoencoder_steps: int = Field(default=1000, ge=1)
    """Most steps of the autoencoder."""
    autoencoder_batch: int = Field(default=8, ge=1)
    """Scans per step of the autoencoder."""
    autoencoder_learning_rate: float = Field(default=2e-3, gt=0)
    """Peak of its learning rate."""
    kl_weight: float = Field(default=1e-3, ge=0)
    """Weight of the mean Kullback-Leibler divergence per latent."""
    latent_noise: float = Field(default=0.0, ge=0)
    """Most noise on latents (kl) that the decoder learns to undo, in sd of each channel."""
    edge_weight: float = Field(default=1.0, ge=0)
    """Weight of the difference of edges, at two scales."""
    hard_weight: float = Field(default=0.25, ge=0)
    """Weight of the worst twentieth of the voxels."""
    commitment_weight: float = Field(default=0.25, ge=0)
    """Weight of the squared distance of latents from their codes (vq)."""
    perceptual_weight: float = Field(default=1.0, ge=0)
    """Weight of the difference in features that are taught first, on the same scans."""
    perceptual_steps: int = Field(default=400, ge=1)
    """Most steps of teaching the features."""
    perceptual_weights: Path | None = None
    """A local file of features to use instead."""
    adversarial_weight: float = Field(default=0.05, ge=0)
    """Weight of a critic's disbelief in the reconstructions; no critic where 0."""
    adversarial_start: float = Field(default=0.4, ge=0, lt=1)
    """Share of the autoencoder's steps after which the critic begins."""
    largest_shift: int = Field(default=2, ge=0)
    """Most voxels by which the autoencoder's training scans are moved along each axis."""
    largest_gain: float = Field(default=0.05, ge=0, lt=1)
    """Most by which the autoencoder's training scans are made brighter or darker, a share."""

    objective: Target = "flow"
    """What the denoiser predicts: the flow's velocity, or epsilon, sample or v."""
    time_shift: float = Field(default=1.0, gt=0)
    """Above 1, training and sampling spend more of their times where there is much noise."""
    denoiser_channels: tuple[int, ...] = (32, 64, 96)
    """Channels per level of the denoiser, all multiples of 16."""
    denoiser_steps: int = Field(default=900, ge=1)
    """Most steps of the denoiser."""
    denoiser_batch: int = Field(default=32, ge=1)
    """Latents per step of the denoiser."""
    denoiser_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of its learning rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of the denoiser's weights."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout inside the denoiser's attention."""
    latent_copies: int = Field(default=0, ge=0)
    """Copies of every training scan, turned, scaled, shifted and bent a little, that the denoiser
    learns from as often as from the scan itself."""
    copy_angle: float = Field(default=3.0, ge=0)
    """Most degrees by which a copy is turned about each axis."""
    copy_zoom: float = Field(default=0.03, ge=0, lt=1)
    """Most by which a copy is larger or smaller, a share."""
    copy_shift: float = Field(default=1.0, ge=0)
    """Most voxels by which a copy is moved along each axis; `largest_gain` holds for it, too."""
    copy_bend: float = Field(default=2.0, ge=0)
    """Most voxels by which places of a copy are moved against each other, smoothly."""
    text_encoder: Path | None = None
    """A local folder of a text encoder (config.json, tokenizer, safetensors) that transformers
    reads; it stays as it is, and the checkpoint holds it. None: words that are learned here."""
    attribute_dropout: float = Field(default=0.1, ge=0, lt=1)
    """How often an attribute, and how often a scan's attributes together, are not asked for."""
    ema_lengths: tuple[float, ...] = Field(default=(0.05, 0.1), min_length=1)
    """Widths of the averages of weights that are run, as shares of the steps so far; validation
    follows the last one, and chooses among these and others in the end."""
    num_snapshots: int = Field(default=16, ge=1)
    """How often in a training the averages are stored, from which others are mixed."""
    schedule: Schedule = "cosine"
    """How the learning rate goes on after its rise."""

    patience: int = Field(default=8, ge=1)
    """Validations without a new best one after which a training stops."""
    validate_every: int = Field(default=100, ge=1)
    """Steps between validations."""
    save_every: int = Field(default=200, ge=1)
    """Steps between saved states, from which a killed training goes on."""
    report_every: int = Field(default=10, ge=1)
    """Steps between reports."""
    precision: Precision = "auto"
    """fp32, bf16 autocast, or bf16 where the hardware has it."""
    is_deterministic: bool = False
    """Whether only kernels are used that give the same bits each time; slower on a GPU."""

    dp: DpConfig | None = None
    """Differential privacy of the denoiser's training; none where not given."""

    @model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        if any(width % 16 for width in self.denoiser_channels):
            raise ValueError(
                f"denoiser channels must be multiples of 16, got {self.denoiser_channels}"
            )
        if any(width % 8 for width in self.autoencoder_channels):
            raise ValueError(
                f"autoencoder channels must be multiples of 8, got {self.autoencoder_channels}"
            )
        if self.dp and self.latent_copies:
            raise ValueError("private training learns from scans alone: latent_copies must be 0")
        if not all(0 < length < 0.28 for length in self.ema_lengths):
            raise ValueError(f"ema_lengths must lie in (0, 0.28), got {self.ema_lengths}")
        return self

    def autoencoder(self, spatial_dims: int) -> AutoencoderConfig:
        """Shape of the autoencoder."""
        return AutoencoderConfig(
            spatial_dims,
            self.autoencoder_channels,
            self.autoencoder_patch,
            self.latent_channels,
            kind=self.autoencoder_kind,
            num_codes=self.num_codes,
            has_cosines=self.autoencoder_cosines,
        )

    def denoiser(self, spatial_dims: int, num_tokens: int) -> DenoiserConfig:
        """Shape of the denoiser."""
        return DenoiserConfig(
            spatial_dims,
            self.latent_channels,
            num_tokens,
            channels=self.denoiser_channels,
            dropout=self.dropout,
        )

    @property
    def movement(self) -> Movement:
        """How far copies differ from their scans."""
        return Movement(
            self.copy_angle, self.copy_zoom, self.copy_shift, self.largest_gain, self.copy_bend
        )

    @property
    def denoiser_objective(self) -> Objective:
        """What the denoiser learns."""
        return Objective.of(self.objective, shift=self.time_shift)

    @property
    def multiple(self) -> int:
        """What a scan's sides are padded to a multiple of."""
        factor = self.autoencoder(2).factor
        return factor * int(2 ** (len(self.denoiser_channels) - 1))

    @property
    def reconstruction(self) -> ReconstructionLoss:
        """What the autoencoder's voxels and edges cost."""
        return ReconstructionLoss(self.edge_weight, self.hard_weight)

    @property
    def regularizer_weight(self) -> float:
        """Weight of what keeps latents in bounds."""
        return self.kl_weight if self.autoencoder_kind == "kl" else self.commitment_weight

    def recipe(self, stage: str, seed: int) -> Recipe:
        """How a network is trained: features and latents belong to stage latents/."""
        num_steps, learning_rate, batch = {
            "features": (self.perceptual_steps, FEATURES_RATE, self.autoencoder_batch),
            "latents": (
                self.autoencoder_steps,
                self.autoencoder_learning_rate,
                self.autoencoder_batch,
            ),
        }.get(stage, (self.denoiser_steps, self.denoiser_learning_rate, self.denoiser_batch))
        return Recipe(
            stage=stage,
            num_steps=num_steps,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay if stage == "checkpoint" else 0.0,
            seed=seed,
            batch=batch,
            ema_lengths=self.ema_lengths,
            num_snapshots=self.num_snapshots,
            schedule=self.schedule,
            report_every=self.report_every,
            validate_every=self.validate_every,
            save_every=self.save_every,
            patience=self.patience,
            precision="fp32" if self.dp else self.precision,
            is_deterministic=self.is_deterministic,
        )
