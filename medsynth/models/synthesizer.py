"""Autoencoder, condition encoder and denoiser as one object: requests to volumes.

A scan depends on its request, its noise and the settings, never on how many are drawn with it:
the network always sees batches of one fixed size, the last one filled up.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.models.denoiser import Denoiser
from medsynth.models.draws import in_batches, standard_normal
from medsynth.models.frame import Frame
from medsynth.models.guidance import Guidance, guided
from medsynth.models.imported import (
    AnyAutoencoder,
    ContextEncoder,
    ImportedAutoencoder,
    ImportedDenoiser,
)
from medsynth.models.masks import Masks
from medsynth.models.memory import decode, encode, plan_tiles
from medsynth.models.objective import Objective
from medsynth.models.sampler import Method, Watch, integrate, unwatched
from medsynth.models.text import TextStates
from medsynth.models.trained import Trained, check_request

_STARTING_NOISE, _STEP_NOISE = 1, 3
"""Philox streams; that of requests lies between."""


@dataclass(frozen=True, eq=False)
class LatentScale:
    """Per-channel mean of the training latents, and their sd, or what stands for it."""

    mean: Float[np.ndarray, " channels"]
    sd: Float[np.ndarray, " channels"]

    def apply(self, latents: Tensor) -> Tensor:
        """Latents to zero mean and, where `sd` is theirs, unit variance."""
        return self.apply_(latents.clone())

    def apply_(self, latents: Tensor) -> Tensor:
        """The same in place: a fresh copy of large latents costs more than the arithmetic."""
        mean, sd = self._tensors(latents)
        return latents.sub_(mean).div_(sd)

    def undo(self, latents: Tensor) -> Tensor:
        """Back to what the decoder reads."""
        mean, sd = self._tensors(latents)
        return latents * sd + mean

    def _tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1, *[1] * (like.ndim - 2))
        mean, sd = (torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in self._pair())
        return mean.view(shape), sd.view(shape)

    def _pair(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean, self.sd


@dataclass(frozen=True)
class SamplerConfig:
    """How noise becomes an image; without a method by ab2, or by shortcut where one was learned.

    `batch` is the fixed micro-batch, part of what a seed reproduces.
    """

    num_steps: int = 10
    method: Method | None = None
    guidance: Guidance = field(default_factory=Guidance)
    batch: int = 32


@dataclass(frozen=True, eq=False)
class Synthesizer:
    """A trained generator, in evaluation mode, on one device."""

    autoencoder: AnyAutoencoder
    encoder: ConditionEncoder | ContextEncoder
    denoiser: Denoiser | ImportedDenoiser
    scale: LatentScale
    frame: Frame
    schema: AttributeSchema
    trained: Trained
    objective: Objective = field(default_factory=Objective)
    masks: Masks = field(default_factory=dict)
    texts: TextStates = field(default_factory=dict[str, np.ndarray])
    """What reads texts, where training had an encoder for them."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    free_bytes: int = 2**40
    """Memory to plan with; volumes that need more are coded in tiles."""

    def __post_init__(self) -> None:
        for network in (self.autoencoder, self.encoder, self.denoiser):
            network.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def round_trip(
        self, volumes: Float[np.ndarray, "n i j k"], *, batch: int
    ) -> Float[np.ndarray, "n i j k"]:
        """Volumes as the decoder gives them back."""
        return in_batches(self._round_trip, batch, volumes)

    def _round_trip(self, volumes: np.ndarray) -> np.ndarray:
        images = self.frame.to_tensor(volumes).to(self.device)
        return self._volumes(encode(self.autoencoder, images, self.free_bytes))

    @torch.inference_mode()
    def draw(
        self, requests: Sequence[Attributes], indices: Sequence[int], seed: int, how: SamplerConfig
    ) -> Float[np.ndarray, "n i j k"]:
        """One scan per request; its noise is a function of (seed, index) alone."""
        return self._in_batches(self._draw, requests, indices, seed, how)

    @torch.inference_mode()
    def trace(
        self,
        requests: Sequence[Attributes],
        indices: Sequence[int],
        seed: int,
        how: SamplerConfig,
        *,
        num_states: int,
    ) -> Float[np.ndarray, "n states i j k"]:
        """How each scan of `draw` comes about: where some of its steps head for, then the scan.

        The steps lie evenly apart; the first one has nothing but noise to go by.
        """

        def trace_rows(
            requests: Sequence[Attributes], indices: Sequence[int], seed: int, how: SamplerConfig
        ) -> np.ndarray:
            points: list[Tensor] = []
            self.trajectory(requests, indices, seed, how, lambda number, x: points.append(x))
            times = self.objective.schedule.grid(how.num_steps, shift=self.objective.shift)
            chosen = np.linspace(0, how.num_steps - 1, num_states - 1).round().astype(int)
            heads = [
                self.objective.heading(
                    points[n], points[n + 1], float(times[n]), float(times[n + 1])
                )
                for n in chosen
            ]
            return np.stack([self._decode(latents) for latents in (*heads, points[-1])], axis=1)

        return self._in_batches(trace_rows, requests, indices, seed, how)

    def _in_batches(
        self,
        make: Callable[[Sequence[Attributes], Sequence[int], int, SamplerConfig], np.ndarray],
        requests: Sequence[Attributes],
        indices: Sequence[int],
        seed: int,
        how: SamplerConfig,
    ) -> np.ndarray:
        for request in [*requests, how.guidance.negative]:
            check_request(self.schema, self.trained, request, self.masks)

        def make_rows(chosen: np.ndarray) -> np.ndarray:
            asked = [requests[row] for row in chosen]
            return make(asked, [indices[row] for row in chosen], seed, how)

        return in_batches(make_rows, how.batch, np.arange(len(requests)))

    def _draw(
        self, requests: Sequence[Attributes], indices: Sequence[int], seed: int, how: SamplerConfig
    ) -> np.ndarray:
        return self._decode(self.trajectory(requests, indices, seed, how, unwatched))

    def _decode(self, latents: Tensor) -> np.ndarray:
        return self._volumes(self.scale.undo(latents))

    @torch.inference_mode()
    def trajectory(
        self,
        requests: Sequence[Attributes],
        indices: Sequence[int],
        seed: int,
        how: SamplerConfig,
        watch: Watch,
    ) -> Float[Tensor, "n c *latent"]:
        """Scaled latents of one micro-batch, which are watched on their way."""
        method = self.method_of(how)

        def fresh(step: int) -> Tensor:
            return self._noise(seed, indices, _STEP_NOISE, step)

        return integrate(
            guided(self.denoiser, self._conditions(requests, how.guidance), how.guidance),
            self._noise(seed, indices, _STARTING_NOISE),
            self.objective.schedule.grid(how.num_steps, shift=self.objective.shift),
            objective=self.objective,
            method=method,
            fresh_noise=fresh if method == "ancestral" else None,
            watch=watch,
        )

    def method_of(self, how: SamplerConfig) -> Method:
        """The sampler's rule; raises ValueError for what this denoiser cannot do."""
        is_distilled = self.denoiser.config.knows_spans
        if how.method == "shortcut" and not is_distilled:
            raise ValueError("shortcut needs a generator that was distilled; take ab2")
        if is_distilled and how.guidance != Guidance():
            raise ValueError("a distilled generator has its guidance within; ask for guidance 1")
        return how.method or ("shortcut" if is_distilled else "ab2")

    def _conditions(
        self, requests: Sequence[Attributes], guidance: Guidance
    ) -> list[tuple[Tensor, float]]:
        """A condition for each pass of the guidance, with its coefficient."""
        return [
            (self._condition(requests, asked, guidance.negative), coefficient)
            for asked, coefficient in guidance.groups(self.schema.names)
        ]

    def _condition(
        self, requests: Sequence[Attributes], asked: Set[str], negative: Attributes
    ) -> Tensor:
        """Some attributes as requested, the others as in the negative condition or not asked."""
        rows = [{**negative, **{name: r.get(name) for name in asked}} for r in requests]
        batch = encode_attributes(self.schema, self.trained, rows, self.masks, self.texts)
        kept = batch.only([name in asked or name in negative for name in self.schema.names])
        condition: Tensor = self.encoder(kept.to(self.device))
        return condition

    def _volumes(self, latents: Tensor) -> np.ndarray:
        return self.frame.to_volumes(decode(self.autoencoder, latents, self.free_bytes))

    def tiles(self, batch: int) -> tuple[int, ...] | None:
        """Sides of the tiles' cores that a micro-batch is decoded in, in latents; `None` is whole.

        Raises ValueError where not even the smallest tile fits.
        """
        if isinstance(self.autoencoder, ImportedAutoencoder):
            return None
        sides = self.latent_shape[1:]
        cores = plan_tiles(self.autoencoder, "decoder", batch, sides, self.free_bytes)
        return None if cores == sides else cores

    def _noise(self, seed: int, indices: Sequence[int], stream: int, step: int = 0) -> Tensor:
        noise = np.stack([self.noise(seed, index, stream, step) for index in indices])
        return torch.from_numpy(noise).to(self.device)

    def noise(
        self, seed: int, index: int, stream: int = _STARTING_NOISE, step: int = 0
    ) -> Float[np.ndarray, " c *latent"]:
        """Latents that seed and index alone decide; one stream per purpose."""
        return standard_normal(seed, index, self.latent_shape, stream=stream, step=step)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Channels and sides of one scan's latents."""
        factor = self.autoencoder.config.factor
        return (len(self.scale.mean), *(side // factor for side in self.frame.padded_shape))
