"""The battery: every kind by name, and how copies of it are made.

Lengths are shares of the field of view, the same at every size; a number in a name is that of the
reference grid of 64 pixels, a percentage or an angle. Noise, blur, rotation, brightness, contrast
and JPEG follow the robustness grid of LCMem, arXiv 2512.14421.
"""

from zlib import crc32

import numpy as np
from jaxtyping import Bool

from medsynth.core.protocols import RoundTrip
from privacy.planted import geometry, intensity, partial, quality
from privacy.planted.model_made import ROUND_TRIP, SDEDIT, Redream
from privacy.planted.scan import PIXEL, Batch, Kind, in_turn

LESION = "lesion"
KINDS: dict[str, Kind] = {
    "exact": lambda scan, other, rng: scan,
    **{f"noise_{n:02d}": intensity.noise(n / 100) for n in (1, 5, 10, 15, 20, 30)},
    "flip": geometry.flip(0),
    "flip_ud": geometry.flip(1),
    **{f"rotation_{n}": geometry.rotation(float(n)) for n in (5, 7, 20, 30)},
    "rotation_5_30": geometry.rotation_between(5.0, 30.0),
    "rotation_90": geometry.quarter_turn,
    "shift": geometry.shift,
    "crop_85": geometry.crop(0.85),
    "crop_70": geometry.crop(0.70),
    "elastic_1": geometry.elastic(PIXEL),
    "elastic_2": geometry.elastic(2 * PIXEL),
    "gamma": intensity.gamma(0.5),
    "gamma_2": intensity.gamma(2.0),
    "window": intensity.window,
    "invert": intensity.invert,
    "bias_field": intensity.bias_field,
    **{f"brightness_{n}": intensity.brightness(n / 100) for n in (110, 150, 200)},
    **{f"contrast_{n}": intensity.contrast(n / 100) for n in (110, 150, 200)},
    "blur": quality.blur(1.5 * PIXEL),
    **{f"blur_{n}": quality.blur(n * PIXEL) for n in (1, 3, 6)},
    **{f"jpeg_{n}": quality.jpeg(n) for n in (90, 50, 30, 10, 5)},
    "downsample": quality.downsample(2),
    "blend_70": partial.blend(0.7),
    "blend_50": partial.blend(0.5),
    "half": partial.half,
    "quadrant": partial.quadrant,
    "flip_rotation_noise": in_turn(
        geometry.flip(0), geometry.rotation(7.0), intensity.noise(0.05)
    ),
    "crop_gamma_jpeg": in_turn(geometry.crop(0.85), intensity.gamma(0.5), quality.jpeg(30)),
    "shift_window_blur": in_turn(geometry.shift, intensity.window, quality.blur(PIXEL)),
}  # fmt: skip
"""Kinds that need nothing but real scans."""
SLICES: dict[str, Kind] = {f"slice_{n}": geometry.next_slice(n) for n in (1, 2, 3)}
"""Kinds that need volumes of several slices."""
EVERY_KIND = (*KINDS, *SLICES, LESION, ROUND_TRIP, *SDEDIT)
HARD = (
    "noise_20", "noise_30", "rotation_30", "crop_70", "elastic_2", "brightness_200", "contrast_200",
    "blur_6", "jpeg_10", "jpeg_5", "blend_50", "half", "quadrant", "sdedit_30", "sdedit_50",
)  # fmt: skip
"""Partial, mixed, far from the original: proposed as a policy's hard kinds."""
MUST_CATCH = tuple(kind for kind in EVERY_KIND if kind not in HARD)


def why_not(
    kind: str,
    num_slices: int,
    *,
    round_trip: RoundTrip | None = None,
    redream: Redream | None = None,
    masks: Bool[np.ndarray, "n i j k"] | None = None,
) -> str | None:
    """Why a kind cannot be planted here, in plain words; None where it can."""
    if kind in SLICES and num_slices == 1:
        return "not planted: the scans are single slices, so there is no neighboring one"
    if kind == LESION and masks is None:
        return "not planted: this kind needs a lesion mask of every scan; none was handed in"
    if (kind == ROUND_TRIP and round_trip is None) or (kind in SDEDIT and redream is None):
        return "not planted: this kind needs the generator; hand in its checkpoint"
    return None


def plant(
    kind: str,
    scans: Batch,
    others: Batch,
    *,
    seed: int,
    round_trip: RoundTrip | None = None,
    redream: Redream | None = None,
    masks: Bool[np.ndarray, "n i j k"] | None = None,
) -> Batch:
    """Copies of one kind, in [0, 1]; `others` are other people's scans, for what is mixed."""
    if kind not in EVERY_KIND:
        raise ValueError(f"a planted kind must be one of {', '.join(EVERY_KIND)}, got {kind!r}")
    reason = why_not(kind, scans.shape[3], round_trip=round_trip, redream=redream, masks=masks)
    if reason is not None:
        raise ValueError(f"{kind} {reason}")
    if kind == ROUND_TRIP and round_trip is not None:
        return _in_range(round_trip(scans))
    if kind in SDEDIT and redream is not None:
        return _in_range(redream(scans, SDEDIT[kind], seed))
    if kind == LESION and masks is not None:
        return _in_range(partial.lesion_only(scans, others, masks))
    copy, rng = {**KINDS, **SLICES}[kind], np.random.default_rng([seed, crc32(kind.encode())])
    return _in_range(
        np.stack([copy(scan, other, rng) for scan, other in zip(scans, others, strict=True)])
    )


def _in_range(volumes: Batch) -> Batch:
    clipped: np.ndarray = np.clip(volumes, 0, 1).astype(np.float32)
    return clipped
