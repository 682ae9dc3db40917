"""Data elements of a DICOM file, found once and read when asked for; pixels stay where they lie.

A header is a map from tag to place; values are cut out and converted on demand, so a file costs
one short read. Lengths are checked against what was read and nesting has a limit, so hostile
files end in a reason code. Source: DICOM PS3.5, sections 6.2 and 7; PS3.10, section 7.1.
"""

import struct
from functools import cache
from typing import Protocol, runtime_checkable

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword

from medsynth.core.errors import UnreadableScan

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR"))
_LONG |= frozenset((b"UT", b"UV"))
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHARACTER_SET = 0x00080005
_DEEPEST = 24
_MOST_STEPS = 1 << 21  # elements of one file; more would take seconds to walk
_DELIMITERS = {ord(mark) for mark in "\\^="}
_NUMBERS = {"FD": "d", "FL": "f", "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}
_NUMBERS |= {"OF": "f", "OD": "d", "OW": "H", "AT": "H"}
PIXEL_TAGS = {0x7FE00010: "integer", 0x7FE00008: "float", 0x7FE00009: "double"}

Place = tuple[bytes, int, int]
"""Value representation (b"" where implicit), offset of the value and its length in bytes."""


class NeedMore(Exception):
    """The bytes at hand end before the header does."""


@runtime_checkable
class Source(Protocol):
    """What elements can be asked of: one data set, or several laid over each other."""

    def text(self, name: str) -> str:
        """A value as text, stripped; empty where absent."""

    def numbers(self, name: str) -> tuple[float, ...]:
        """A value's numbers; empty where absent."""

    def items(self, name: str) -> list["Elements"]:
        """The items of a sequence; empty where absent."""


class Elements:
    """The elements of one data set (or of one item) by tag."""

    __slots__ = ("_data", "_encodings", "_explicit", "_order", "_places")

    def __init__(
        self,
        data: bytes,
        places: dict[int, Place],
        order: str,
        explicit: bool,
        encodings: list[str],
    ) -> None:
        self._data, self._places, self._order, self._explicit = data, places, order, explicit
        own = self.raw(_CHARACTER_SET).decode("latin-1").replace("\0", "").strip()
        self._encodings = own.split("\\") if own else encodings

    def __contains__(self, name: str | int) -> bool:
        return _tag(name) in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def data(self) -> bytes:
        """The bytes that the elements lie in."""
        return self._data

    def place(self, name: str | int) -> Place | None:
        """Where a value lies."""
        return self._places.get(_tag(name))

    def raw(self, name: str | int) -> bytes:
        """The bytes of a value; empty where absent."""
        place = self._places.get(_tag(name))
        return self._data[place[1] : place[1] + place[2]] if place else b""

    def text(self, name: str | int) -> str:
        """A value as text, stripped; several values stay joined by a backslash."""
        if _tag(name) not in self._places or not (raw := self.raw(name)):
            return ""
        if self._representation(name) in _NUMBERS:
            return "\\".join(f"{number:.10g}" for number in self.numbers(name))
        if raw.isascii():
            return raw.decode("ascii").strip(" \0\t\r\n")
        names = [word.strip() for word in self._encodings or ["iso8859"]]
        decoded = decode_bytes(raw, convert_encodings(names), _DELIMITERS)
        return decoded.strip(" \0\t\r\n")

    def numbers(self, name: str | int, unknown: str = "DS") -> tuple[float, ...]:
        """A value's numbers; `unknown` is the representation of a private element without one."""
        if _tag(name) not in self._places:
            return ()
        raw = self.raw(name)
        code = _NUMBERS.get(self._representation(name, unknown))
        if code:
            count = len(raw) // struct.calcsize(code)
            size = count * struct.calcsize(code)
            return tuple(map(float, struct.unpack(f"{self._order}{count}{code}", raw[:size])))
        parts = raw.replace(b"\0", b"").strip()
        return tuple(map(float, parts.split(b"\\"))) if parts else ()

    def items(self, name: str | int) -> list["Elements"]:
        """The items of a sequence."""
        place = self._places.get(_tag(name))
        if place is None or not place[2]:
            return []
        order, explicit = self._order, self._explicit and place[0] != b"UN"
        walker = Walker(self._data, order, explicit, place[1] + place[2])
        found = walker.items(place[1], place[1] + place[2])
        return [Elements(self._data, f, order, explicit, self._encodings) for f in found]

    def _representation(self, name: str | int, unknown: str = "UN") -> str:
        tag = _tag(name)
        stored = self._places[tag][0] if tag in self._places else b""
        if stored and stored != b"UN":
            return stored.decode("latin-1")
        return _dictionary(tag) or unknown


class Walker:
    """Steps through elements from one to the next; `order` is "<" or ">" as in `struct`."""

    def __init__(self, data: bytes, order: str, explicit: bool, end: int) -> None:
        self.data, self.order, self.explicit, self.end = data, order, explicit, end
        self._steps = 0
        self._short = struct.Struct(f"{order}HH2sH").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from
        self._plain = struct.Struct(f"{order}HHI").unpack_from

    def walk(self, at: int, end: int, depth: int = 0) -> tuple[dict[int, Place], int]:
        """Elements from `at` on, up to `end`, a delimiter, or the pixels; and where they ended.

        `end` lies within the file, not necessarily within the bytes at hand: raises NeedMore.
        """
        places: dict[int, Place] = {}
        while at < end:
            tag, vr, start, length = self.header(at)
            if tag >> 16 == 0x7FE0 and not depth and tag in PIXEL_TAGS:
                places[tag] = vr, start, length
                return places, at
            if tag in (_ITEM_END, _SEQUENCE_END):
                return places, start
            if length == _UNDEFINED:
                stop = self._skip_items(start, end, depth + 1, vr)
                places[tag] = vr or b"SQ", start, stop - start
                at = stop
                continue
            at = start + length
            if at > end:
                raise UnreadableScan("truncated")
            places[tag] = vr, start, length
        return places, at

    def items(self, at: int, end: int, depth: int = 0) -> list[dict[int, Place]]:
        """The items of a sequence whose value lies between two offsets."""
        found = []
        while at + 8 <= end:
            group, element, length = self._plain(self.data, at)
            if group << 16 | element != _ITEM:
                break
            stop = end if length == _UNDEFINED else min(at + 8 + length, end)
            places, after = self.walk(at + 8, stop, depth + 1)
            found.append(places)
            at = after if length == _UNDEFINED else stop
        return found

    def header(self, at: int) -> tuple[int, bytes, int, int]:
        """(tag, representation, offset of the value, length) of the element at an offset."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise UnreadableScan("too_large")
        if at + 12 > len(self.data):
            self.check_end(at)
        if not self.explicit:
            group, element, length = self._plain(self.data, at)
            return group << 16 | element, b"", at + 8, length
        group, element, vr, length = self._short(self.data, at)
        tag = group << 16 | element
        if vr in _LONG:
            return tag, vr, at + 12, self._long(self.data, at + 8)[0]
        if group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            # Delimiters have no representation, and some writers leave it out elsewhere, too.
            return tag, b"", at + 8, self._long(self.data, at + 4)[0]
        return tag, vr, at + 8, length

    def check_end(self, at: int) -> None:
        """An element header must lie within the bytes at hand; the last one may be 8 bytes."""
        if len(self.data) < self.end:
            raise NeedMore
        if at + 8 > len(self.data):
            raise UnreadableScan("truncated")
        vr = self.data[at + 4 : at + 6]
        if self.explicit and vr in _LONG:
            raise UnreadableScan("truncated")

    def _skip_items(self, at: int, end: int, depth: int, vr: bytes) -> int:
        """The offset behind a sequence of undefined length."""
        if depth > _DEEPEST:
            raise UnreadableScan("depth_limit")
        walker = Walker(self.data, self.order, False, self.end) if vr == b"UN" else self
        while at < end:
            tag, _, start, length = walker.header(at)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise UnreadableScan("bad_element")
            at = start + length
            if length == _UNDEFINED:
                at = walker.walk(start, end, depth)[1]
        raise UnreadableScan("truncated")


@cache
def _tag(name: str | int) -> int:
    tag = tag_for_keyword(name) if isinstance(name, str) else name
    if tag is None:
        raise ValueError("an element is named by its tag or by a keyword of PS3.6")
    return int(tag)


@cache
def _dictionary(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return ""
