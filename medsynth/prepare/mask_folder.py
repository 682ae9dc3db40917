"""Masks that a cohort is to be drawn with: a folder of files, brought onto a generator's grid.

FOLDER holds NIfTI files or pictures, in the order of their names; where several attributes are
masks, those of each lie in FOLDER/NAME. Names and places stay outside: only voxels are taken.
"""

from pathlib import Path

import numpy as np

from medsynth.core.errors import UnreadableScan, UsageProblem
from medsynth.core.geometry import Geometry
from medsynth.core.masks import Mask
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.files.mask_images import read_mask
from medsynth.ingest.files.masks import MaskRule
from medsynth.ingest.source import walk
from medsynth.prepare.grid import Grid
from medsynth.prepare.masks import conform_mask

_LIMITS = IngestConfig()


def read_mask_folder(
    folder: Path, schema: AttributeSchema, geometry: Geometry
) -> dict[str, tuple[Mask, ...]]:
    """Masks by attribute; one whose folder is not there has none.

    Raises UsageProblem where nothing wants masks, or where a file is no mask.
    """
    wanted = [attribute for attribute in schema if attribute.kind == "mask"]
    if not wanted:
        raise UsageProblem("masks were given, but no attribute of this generator is a mask")
    places = {a.name: folder / a.name if len(wanted) > 1 else folder for a in wanted}
    if not any(place.is_dir() for place in places.values()):
        raise UsageProblem(f"the masks must lie in folders named {', '.join(places)}")
    grid = Grid(geometry.spatial_shape, geometry.spacing)
    return {a.name: _read(places[a.name], a, grid) for a in wanted if places[a.name].is_dir()}


def _read(folder: Path, attribute: Attribute, grid: Grid) -> tuple[Mask, ...]:
    rule, found = _rule(attribute), []
    for number, file in enumerate(walk(folder), start=1):
        try:
            mask = read_mask(file, rule, _LIMITS)
        except (UnreadableScan, OSError):
            raise UsageProblem(f"{attribute.name}: file {number} of the masks is none") from None
        conformed = conform_mask(mask, attribute, grid)
        found.append(np.ascontiguousarray(conformed.array[0]))
    if not found:
        raise UsageProblem(f"{attribute.name}: the folder of the masks is empty")
    return tuple(found)


def _rule(attribute: Attribute) -> MaskRule:
    """The labels as trained; where there is but one it is all that is not 0."""
    labels = frozenset(map(int, attribute.values))
    return MaskRule("", frozenset() if labels == {1} else labels, is_gray=not labels)
