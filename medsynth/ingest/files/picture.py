"""Gray pictures (PNG, JPEG, TIFF) as planes: stored values, exactly, or a refusal.

A picture says nothing of millimeters or sides: its plane is called axial and its pixels 1 mm wide,
both flagged. Pillow reads it in the sandbox.
"""

import numpy as np

from medsynth.core.geometry import Geometry, Volume, to_ras
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.decode import narrowed
from medsynth.ingest.files.picture_pixels import picture_flags, picture_pixels
from medsynth.ingest.sandbox import guarded
from medsynth.ingest.source import InputFile


def read_picture(file: InputFile, config: IngestConfig) -> tuple[Volume, tuple[str, ...]]:
    """(volume, flags) of a gray picture; raises UnreadableScan where it is none."""
    asked = str(file.path), config.max_bytes
    flags = guarded(picture_flags, *asked, limits=config.limits)
    pixels = guarded(picture_pixels, *asked, limits=config.limits)
    (gray,) = narrowed([pixels.T[..., None]])
    i, j, k = gray.shape
    volume = Volume(gray[None], Geometry((i, j, k), np.diag([-1.0, -1, 1, 1])))
    return to_ras(volume), ("spacing_assumed", *flags)
