"""Sweeps and traces as the report's figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from medsynth.core.pictures import image_grid, inlined
from medsynth.release.difference import Difference
from medsynth.release.shown import Sweep
from medsynth.release.wording import attribute_words, number

_MOST_COLUMNS, _MOST_COLUMNS_3D, _MOST_TRACES = 8, 3, 3
_HEIGHT = 96  # pixels


def sweep_figures(sweep: Sweep) -> dict[str, Any]:
    """A strip of scans for each value, and the difference of the last value from the first."""
    is_3d = sweep.volumes.shape[-1] > 1
    columns = sweep.volumes[: _MOST_COLUMNS_3D if is_3d else _MOST_COLUMNS]
    words = [attribute_words(sweep.name, value) for value in sweep.values]
    strips = [_strip(columns[:, row]) for row in range(len(words))]
    difference = sweep.difference
    return {
        "name": sweep.name,
        "rows": list(zip(words, strips, strict=True)),
        "first": words[0],
        "last": words[-1],
        "is_wide": is_3d,
        "maps": _maps(difference) if difference else None,
    }


def _maps(difference: Difference) -> dict[str, Any]:
    share = float(difference.is_beyond.mean())
    pictures = difference.pictures(height=_HEIGHT)
    return {
        "num_pairs": difference.num_pairs,
        "largest": number(difference.largest),
        "typical": number(float(difference.spread.max())),
        "share": f"{100 * share:.0f}",
        **{name: inlined(picture) for name, picture in pictures.items()},
    }


def trace_figures(traces: Sequence[Float[np.ndarray, "states i j k"]]) -> list[str]:
    """A strip for each of a few traces."""
    return [_strip(states) for states in traces[:_MOST_TRACES]]


def _strip(volumes: Float[np.ndarray, "n i j k"]) -> str:
    return inlined(image_grid(volumes, len(volumes), height=_HEIGHT))
