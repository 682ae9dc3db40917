"""All cases, in the order of the table: the scored 45, then the further ones."""

from matrix import codecs, frames, objects, places, scored, values, vendors
from matrix.case import CASES, Case

_ROOMS = (scored, places, values, codecs, frames, vendors, objects)
_ORDER = {room.__name__: number for number, room in enumerate(_ROOMS)}
CASES.sort(key=lambda each: _ORDER[each.write.__module__])
SCORED = [each for each in CASES if each.is_scored]

__all__ = ["CASES", "SCORED", "Case"]
