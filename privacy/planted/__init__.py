"""Planted copies: what the screen must find, or be called too weak to judge.

Each kind turns a real scan (i, j, k) into a copy that somebody might release. Rotation and shift
act in the plane of the first two axes.
"""

from privacy.planted.battery import (
    EVERY_KIND,
    HARD,
    KINDS,
    LESION,
    MUST_CATCH,
    SLICES,
    plant,
    why_not,
)
from privacy.planted.model_made import ROUND_TRIP, SDEDIT, Redream, redream_by
from privacy.planted.other_scan import part_other_scans

__all__ = [
    "EVERY_KIND",
    "HARD",
    "KINDS",
    "LESION",
    "MUST_CATCH",
    "ROUND_TRIP",
    "SDEDIT",
    "SLICES",
    "Redream",
    "part_other_scans",
    "plant",
    "redream_by",
    "why_not",
]
