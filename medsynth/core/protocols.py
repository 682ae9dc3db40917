"""What the judge may ask of a maker it does not know."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from medsynth.core.schema import Attributes

Voxels = Float[np.ndarray, "n i j k"]
Latents = Float[np.ndarray, "n *latent"]


@runtime_checkable
class RoundTrip(Protocol):
    """The generator's autoencoder: encode and decode, in the intensities of the prepared scans."""

    def __call__(self, volumes: Voxels) -> Voxels:
        """The volumes as the decoder gives them back."""
        ...


@runtime_checkable
class Redraw(Protocol):
    """The generator's sampler: one fresh scan for each request, at an index never used before."""

    def __call__(self, requests: Sequence[Attributes], attempt: int) -> Voxels:
        """Scans with these attributes; `attempt` runs from 1 to 5 and changes every index."""
        ...


@runtime_checkable
class Draw(Protocol):
    """The generator's sampler, asked for whatever an attacker wants.

    What the sampler would refuse is asked as near to it as it allows.
    """

    def __call__(self, requests: Sequence[Attributes], guidance: float, seed: int) -> Voxels:
        """One scan for each request, at this strength of guidance; other seeds, other scans."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """White-box access to the generator, whatever its objective: noise and clean predictions.

    Time runs from 0 (data) to 1 (noise); what the network itself predicts, and with which sign,
    never reaches the judge.
    """

    def encode(self, volumes: Voxels) -> Latents:
        """Latents of volumes, as the network was trained on them."""
        ...

    def condition(self, attributes: Sequence[Attributes] | None) -> Any:
        """The condition of as many latents; `None` is the empty one, of any number."""
        ...

    def path(self, t: float) -> tuple[float, float]:
        """(a, s) of the way from data to noise: z_t = a z_0 + s eps."""
        ...

    def predict(self, z_t: Latents, t: float, condition: Any) -> tuple[Latents, Latents]:
        """(noise, clean) predicted from latents at time t."""
        ...


@runtime_checkable
class TrainTwin(Protocol):
    """The generator's own training, run once more with some scans added to its train fold."""

    def __call__(self, volumes: Voxels, attributes: Sequence[Attributes]) -> Denoiser:
        """White-box access to the twin."""
        ...
