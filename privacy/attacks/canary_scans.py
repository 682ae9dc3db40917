"""Procedural scans that are nobody's, each with attributes that no other one has.

Of high contrast at every place, so that a model has much to remember of them; unique attributes
work like a caption that only one scan carries (Somepalli et al., arXiv 2305.20086).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter

from medsynth.core.schema import Attribute, Attributes, AttributeSchema, AttributeValue

_GRAIN = 1.5  # voxels: finer would not survive an autoencoder
_CONTRAST = 3.0
_TRIES = 50
_WORDS = ("category", "ordinal", "labels")


@dataclass(frozen=True, eq=False)
class Canaries:
    """Volumes in [0, 1] and their attributes."""

    volumes: Float[np.ndarray, "m i j k"]
    attributes: tuple[Attributes, ...]

    def __len__(self) -> int:
        return len(self.volumes)

    def take(
        self, rows: Int[np.ndarray, " some"]
    ) -> tuple[Float[np.ndarray, "some i j k"], tuple[Attributes, ...]]:
        """Some of them."""
        return self.volumes[rows], tuple(self.attributes[row] for row in rows.tolist())


def draw_canaries(
    num: int,
    shape: tuple[int, int, int],
    schema: AttributeSchema,
    known: Sequence[Attributes],
    seed: int,
) -> Canaries:
    """Canaries of a shape; `known` are train attributes, of which ranges and words are taken."""
    rng = np.random.default_rng(seed)
    volumes = np.stack([_draw_volume(shape, rng) for _ in range(num)])
    return Canaries(volumes, _draw_attributes(num, schema, known, rng))


def _draw_volume(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> Float[np.ndarray, "i j k"]:
    grain = [_GRAIN if side > 1 else 0.0 for side in shape]
    waves = gaussian_filter(rng.standard_normal(shape), grain, mode="wrap")
    waves *= _CONTRAST / max(float(waves.std()), 1e-12)
    return (0.5 + 0.5 * np.tanh(waves)).astype(np.float32)


def _draw_attributes(
    num: int, schema: AttributeSchema, known: Sequence[Attributes], rng: np.random.Generator
) -> tuple[Attributes, ...]:
    """Vectors drawn anew until they differ; few words alone cannot name many canaries apart."""
    drawn: dict[tuple[AttributeValue, ...], Attributes] = {}
    found: list[Attributes] = []
    for _ in range(num):
        for _ in range(_TRIES):
            vector = {a.name: _draw_value(a, known, rng) for a in schema}
            if tuple(vector.values()) not in drawn:
                break
        drawn[tuple(vector.values())] = vector
        found.append(vector)
    return tuple(found)


def _draw_value(
    attribute: Attribute, known: Sequence[Attributes], rng: np.random.Generator
) -> AttributeValue:
    seen = [value for row in known if (value := row.get(attribute.name)) is not None]
    if attribute.is_numeric and seen:
        numbers = [float(value) for value in seen]
        return float(rng.uniform(min(numbers), max(numbers)))
    words = sorted({str(value) for value in seen})
    return str(rng.choice(words)) if attribute.kind in _WORDS and words else None
