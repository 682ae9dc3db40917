"""Pictures while training: of real and unscreened scans, so they stay where the training is.

FOLDER lies in the unfinished stage. That of latents/ stays in the finished one; that of
checkpoint/ goes when training ends, for a checkpoint is handed on.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medsynth.core.pictures import image_grid, png_bytes

FOLDER = "previews"
NUM_SCANS = 8
PREVIEW_EVERY = 5
"""Validations from one preview to the next."""


def write_preview(
    folder: Path, step: int, rows: Sequence[Float[np.ndarray, "columns i j k"]]
) -> None:
    """Rows of scans in [0, 1] as previews/step-STEP.png, for its owner's eyes only."""
    (folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
    path = folder / FOLDER / f"step-{step:08d}.png"
    picture = png_bytes(image_grid(np.concatenate(rows), len(rows[0])))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(picture)
