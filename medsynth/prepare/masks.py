"""Masks of a scan on the model's grid, where its voxels go: labels nearest, sketches smoothly."""

from pathlib import Path

import numpy as np

from medsynth.core.geometry import Volume, read_volume
from medsynth.core.manifest import Scan
from medsynth.core.masks import mask_path, store_mask
from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.prepare.grid import Grid, conform, plane_last


def masks_on_grid(
    source: Path, folder: Path, scan: Scan, schema: AttributeSchema, grid: Grid
) -> Attributes:
    """The scan's attributes, its masks on the grid and stored below `folder`."""
    found = dict(scan.attributes)
    for attribute in schema:
        value = found.get(attribute.name)
        if attribute.kind == "mask" and value is not None:
            mask = read_volume(mask_path(source, str(value)))
            found[attribute.name] = store_mask(folder, conform_mask(mask, attribute, grid))
    return found


def conform_mask(mask: Volume, attribute: Attribute, grid: Grid) -> Volume:
    """A uint8 mask on the grid; each voxel of a label map takes the nearest label."""
    conformed = conform(plane_last(mask), grid, is_labels=bool(attribute.values))
    whole = np.clip(np.rint(conformed.array), 0, 255).astype(np.uint8)
    return Volume(whole, conformed.geometry)
