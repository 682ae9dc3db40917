"""Head-like phantoms: nobody's scans, yet with anatomy that obeys age, sex and lesion.

An axial slice in normalized coordinates: scalp and skull, fluid, cortex, white matter,
ventricles. Age widens ventricles and fluid, sex sets head width and skull thickness, a lesion is
a bright spot in the white matter. Folding, asymmetry and texture belong to the person alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

AGE_RANGE = (20, 89)  # years

Plane = Float[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class Person:
    """What a phantom's header says: age in years, sex F or M, whether there is a lesion."""

    age: int
    sex: str
    lesion: bool


def draw_person(rng: np.random.Generator) -> Person:
    """A person of a clinic's population: ages 20 to 89, both sexes, two in five with a lesion."""
    age = int(rng.integers(AGE_RANGE[0], AGE_RANGE[1] + 1))
    return Person(age, str(rng.choice(["F", "M"])), bool(rng.random() < 0.4))


def draw_phantom(
    rng: np.random.Generator, *, age: float, sex: str, lesion: bool, size: int = 64
) -> Float[np.ndarray, "size size"]:
    """A phantom (rows run from anterior to posterior, columns from right to left) in [0, 1]."""
    y, x = _warped_grid(rng, size)
    shrink = (age - AGE_RANGE[0]) / (AGE_RANGE[1] - AGE_RANGE[0])
    width = 0.78 if sex == "M" else 0.66
    skull = 0.10 if sex == "M" else 0.055
    radius, angle = np.hypot(x / width, y / 0.86), np.arctan2(y, x)
    inside = _below(radius, 1.0, size)
    brain_edge = 1.0 - skull / 0.8 - 0.02 - 0.07 * shrink
    brain = _below(radius, brain_edge + _folds(rng, angle, 0.012 + 0.02 * shrink), size)
    white = _below(radius, brain_edge - 0.2 + _folds(rng, angle, 0.05), size)
    image = 0.85 * inside * (1 - _below(radius, 1.0 - skull / 0.8, size))
    image += 0.10 * _below(radius, 1.0 - skull / 0.8, size) * (1 - brain)
    image += brain * (0.48 + 0.24 * white)
    image = _ventricles(rng, image, x, y, shrink)
    image = _nuclei(rng, image, x, y)
    if lesion:
        image = _lesion(rng, image, x, y, brain_edge * width)
    image = image * (1 + 0.10 * _smooth_noise(rng, size, 0.035) * brain)
    image += 0.008 * rng.standard_normal((size, size))
    clipped: Plane = np.clip(image, 0, 1)
    return clipped.astype(np.float32)


def _smooth_noise(rng: np.random.Generator, size: int, sigma: float) -> Plane:
    """Unit-variance noise, smooth over `sigma` of the field of view, the same at any size."""
    noise: Plane = gaussian_filter(rng.standard_normal((128, 128)), sigma * 128)
    index = (np.arange(size) * 128) // size
    smooth: Plane = noise[np.ix_(index, index)] / noise.std()
    return smooth


def _warped_grid(rng: np.random.Generator, size: int) -> tuple[Plane, Plane]:
    """Coordinates in [-1, 1], bent by this person's own smooth deformation and head position."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    tilt = np.deg2rad(rng.normal(0, 3))
    y, x = y - rng.normal(0, 0.02), x - rng.normal(0, 0.02)
    y, x = np.cos(tilt) * y - np.sin(tilt) * x, np.sin(tilt) * y + np.cos(tilt) * x
    bend = 0.022
    return y + bend * _smooth_noise(rng, size, 0.09), x + bend * _smooth_noise(rng, size, 0.09)


def _below(field: Plane, edge: Plane | float, size: int) -> Plane:
    """1 where the field lies below the edge, with a rim one voxel soft."""
    soft: Plane = 1 / (1 + np.exp(np.clip((field - edge) * size * 1.2, -40, 40)))
    return soft


def _folds(rng: np.random.Generator, angle: Plane, amplitude: float) -> Plane:
    """A person's own folding pattern around the head: angular harmonics 3 to 10."""
    waves = [
        rng.normal() / np.sqrt(order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        for order in range(3, 11)
    ]
    folds: Plane = amplitude * np.sum(waves, axis=0)
    return folds


def _ellipse(x: Plane, y: Plane, center: tuple[float, float], axes: tuple[float, float]) -> Plane:
    distance: Plane = np.hypot((x - center[0]) / axes[0], (y - center[1]) / axes[1])
    return distance


def _ventricles(rng: np.random.Generator, image: Plane, x: Plane, y: Plane, shrink: float) -> Plane:
    size = len(image)
    for side in (-1, 1):
        wide = (0.05 + 0.11 * shrink) * np.exp(rng.normal(0, 0.08))
        tall = (0.20 + 0.14 * shrink) * np.exp(rng.normal(0, 0.08))
        lean = rng.normal(0.25, 0.08) * side
        center = (side * (0.07 + wide), rng.normal(-0.03, 0.03))
        bent = x - lean * (y - center[1])
        field = _ellipse(bent, y, center, (wide, tall))
        hole = _below(field, 1.0, round(size * min(wide, tall)))
        image = image * (1 - hole) + 0.10 * hole
    return image


def _nuclei(rng: np.random.Generator, image: Plane, x: Plane, y: Plane) -> Plane:
    for side in (-1, 1):
        center = (side * rng.normal(0.30, 0.03), rng.normal(0.02, 0.06))
        axes = (abs(rng.normal(0.07, 0.012)), abs(rng.normal(0.13, 0.02)))
        spot = _below(_ellipse(x, y, center, axes), 1.0, 8)
        image = image * (1 - 0.30 * spot)
    return image


def _lesion(rng: np.random.Generator, image: Plane, x: Plane, y: Plane, reach: float) -> Plane:
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.42, 0.62) * reach
    center = (distance * np.cos(angle), 1.15 * distance * np.sin(angle))
    axes = (rng.uniform(0.13, 0.20), rng.uniform(0.13, 0.20))
    spot = _below(_ellipse(x, y, center, axes), 1.0, 10)
    bright: Plane = image * (1 - spot) + spot
    return bright
