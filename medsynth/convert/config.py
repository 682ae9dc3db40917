"""What a foreign checkpoint does not say of itself."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsynth.convert.settings import UnseenKL, UnseenUNet, UnseenVQ
from medsynth.models.objective import Objective
from medsynth.models.schedule import NoiseSchedule

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Bin(BaseModel):
    """A part of an attribute's values, and how many people the network learned it from.

    Of a number [low, high), in its unit; of a category a `word`, and the `number` that the network
    was given for it.
    """

    model_config = _FROZEN

    low: float | None = None
    """Smallest number."""
    high: float | None = None
    """Bound that no number reaches."""
    word: str | None = None
    """Value of a category."""
    number: float | None = None
    """What the network reads for the word."""
    count: int = Field(ge=0)
    """Training subjects inside, as whoever trained the network tells."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Bin":
        is_range = self.low is not None and self.high is not None and self.low < self.high
        is_word = self.word is not None and self.number is not None
        if is_range == is_word or (self.low is None) != (self.high is None):
            raise ValueError("a bin needs low below high, or a word and its number")
        return self


class ContextAttribute(BaseModel):
    """One number of the condition, in the order in which the network reads them."""

    model_config = _FROZEN

    name: str
    """Name of the attribute."""
    unit: str = ""
    """Unit of a number."""
    zero_at: float = 0.0
    """The value for which the network was given 0."""
    one_at: float = 1.0
    """The value for which it was given 1."""
    unasked: float = -1.0
    """What it was given where nothing was asked, for guidance."""
    step: float = Field(default=1.0, gt=0)
    """Step that requests are rounded to, in the unit."""
    bins: tuple[Bin, ...] = Field(min_length=1)
    """What may be asked for."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> "ContextAttribute":
        if len({bin.word is None for bin in self.bins}) > 1:
            raise ValueError("bins must be all ranges or all words")
        if self.zero_at == self.one_at:
            raise ValueError("zero_at and one_at must differ")
        return self

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.bins[0].word is None


class ControlMask(BaseModel):
    """The mask or sketch that a ControlNet was shown as a picture."""

    model_config = _FROZEN

    name: str
    """Name of the attribute."""
    labels: tuple[str, ...] = ()
    """Labels, in the order of their codes from 1; none for a sketch in grays."""
    numbers: tuple[tuple[float, ...], ...] = ()
    """What each channel of the picture was given for the background and every label, or for the
    black and the white of a sketch. Empty: a label is 1 in a channel of its own, white is 1."""

    @model_validator(mode="after")
    def _is_a_table(self) -> "ControlMask":
        if len(self.table) != 1 + max(1, len(self.labels)) or len({*map(len, self.table)}) != 1:
            raise ValueError(
                "numbers must be a row for the background and each label (or for black and "
                "white), all with a number for each channel"
            )
        return self

    @property
    def table(self) -> tuple[tuple[float, ...], ...]:
        """The numbers, also where nobody told them."""
        if self.numbers:
            return self.numbers
        count = max(1, len(self.labels))
        rows = range(-1, count)
        return tuple(tuple(float(row == channel) for channel in range(count)) for row in rows)


class ConvertConfig(BaseModel):
    """Settings of the networks, and of the diffusion between them.

    The defaults are those of the `generative` package; what nobody told stands in import.json.
    """

    model_config = _FROZEN

    entry: str = ""
    """Dictionary to take where a file holds several, such as ema."""
    ignored: tuple[str, ...] = ()
    """Beginnings of the names of weights that belong to no network of the generator."""
    autoencoder: UnseenKL = UnseenKL()
    """Of an AutoencoderKL."""
    vqvae: UnseenVQ = UnseenVQ()
    """Of a VQVAE."""
    denoiser: UnseenUNet = UnseenUNet()
    """Of a DiffusionModelUNet."""
    controlnet: UnseenUNet = UnseenUNet()
    """Of a ControlNet."""

    darkest: float = 0.0
    """What the autoencoder was given for the darkest voxel."""
    brightest: float = 1.0
    """What it was given for the brightest."""
    scale_factor: float = Field(default=1.0, gt=0)
    """What latents were multiplied by before diffusion."""
    target: Literal["epsilon", "sample", "v"] = "epsilon"
    """What the denoiser predicts: the scheduler's prediction_type."""
    schedule: Literal["linear_beta", "scaled_linear_beta"] = "linear_beta"
    """Table of betas that it was trained on."""
    num_timesteps: int = Field(default=1000, ge=2)
    """Length of that table."""
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    """First beta."""
    beta_end: float = Field(default=2e-2, gt=0, lt=1)
    """Last beta."""

    shape: tuple[int, int, int] | None = None
    """Voxels of a scan along right, anterior, superior; 2D has a last side of 1."""
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Distance between voxels, mm."""
    modality: str = "OT"
    """DICOM modality of the scans."""
    attributes: tuple[ContextAttribute, ...] = ()
    """Numbers of the condition."""
    mask: ControlMask | None = None
    """What a ControlNet was shown."""

    @model_validator(mode="after")
    def _fits(self) -> "ConvertConfig":
        if self.darkest == self.brightest:
            raise ValueError("darkest and brightest must differ")
        masks = [] if self.mask is None else [self.mask.name]
        names = [*masks, *(told.name for told in self.attributes)]
        if len({*names}) != len(names):
            raise ValueError("attributes and mask must have names of their own")
        _ = self.objective
        return self

    @property
    def objective(self) -> Objective:
        """Target and path of the denoiser."""
        table = NoiseSchedule(self.schedule, self.num_timesteps, self.beta_start, self.beta_end)
        return Objective(self.target, table)
