"""Siemens' CSA header: a table of named values inside one private element.

Both forms are read: CSA2 begins with "SV10", CSA1 with the number of its entries. An entry has a
name of 64 bytes, counts, and items whose length is padded to four bytes. Whatever does not fit
into the bytes at hand ends the reading with a refusal.
Described by nibabel, "Siemens format DICOM with CSA header".
"""

import struct

from medsynth.core.errors import UnreadableScan

_ENTRY = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")
_MOST_ENTRIES, _MOST_ITEMS = 1000, 1000


def csa_values(data: bytes) -> dict[str, tuple[str, ...]]:
    """The texts of every entry by name; an empty header has none."""
    if not data:
        return {}
    try:
        return _entries(data)
    except (struct.error, UnicodeDecodeError):
        raise UnreadableScan("bad_element") from None


def csa_numbers(data: bytes, name: str) -> tuple[float, ...]:
    """The numbers of one entry; empty where it is absent or empty."""
    try:
        return tuple(float(text) for text in csa_values(data).get(name, ()))
    except ValueError:
        raise UnreadableScan("bad_element") from None


def _entries(data: bytes) -> dict[str, tuple[str, ...]]:
    is_second = data.startswith(b"SV10")
    at = 8 if is_second else 0
    count = struct.unpack_from("<i", data, at)[0]
    if not 0 < count <= _MOST_ENTRIES:
        raise UnreadableScan("bad_element")
    at, found, base = at + 8, {}, None
    for _ in range(count):
        name, _, _, _, num_items, _ = _ENTRY.unpack_from(data, at)
        base = num_items if base is None else base
        texts, at = _items(data, at + _ENTRY.size, num_items, None if is_second else base)
        found[name.split(b"\0")[0].decode("latin-1")] = texts
    return found


def _items(data: bytes, at: int, count: int, base: int | None) -> tuple[tuple[str, ...], int]:
    """(texts that are not empty, offset behind them); CSA1 counts lengths from `base`."""
    if not 0 <= count <= _MOST_ITEMS:
        raise UnreadableScan("bad_element")
    texts: list[str] = []
    for _ in range(count):
        first, second, _, _ = _ITEM.unpack_from(data, at)
        length = second if base is None else first - base
        at += _ITEM.size
        if base is not None and not 0 <= length <= len(data) - at:
            return tuple(texts), at
        if not 0 <= length <= len(data) - at:
            raise UnreadableScan("bad_element")
        text = data[at : at + length].split(b"\0")[0].decode("latin-1").strip()
        texts += [text] if text else []
        at += -(-length // 4) * 4
    return tuple(texts), at
