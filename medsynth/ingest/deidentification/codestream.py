"""Comments inside compressed frames: JPEG, JPEG-LS and JPEG 2000 carry text beside the pixels.

They are blanked in place, so no offset moves and every pixel decodes as before.
"""

from collections.abc import Iterator

_JPEG, _JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
_ITEM = b"\xfe\xff\x00\xe0"
_START_OF_SCAN, _START_OF_TILE = 0xDA, 0x90
_JPEG_COMMENTS = frozenset((0xFE, *range(0xE1, 0xEE), 0xEF))  # COM, APP1 to APP13, APP15
_J2K_COMMENT = 0x64


def blank_comments(pixel_data: bytes) -> bytes:
    """Encapsulated pixel data (PS3.5 A.4) whose frames' comments are zeros."""
    data = bytearray(pixel_data)
    for start, end in _fragments(data):
        for first, last in _comments(data, start, end):
            data[first:last] = bytes(last - first)
    return bytes(data)


def _fragments(data: bytearray) -> Iterator[tuple[int, int]]:
    """(start, end) of every item's value."""
    place = 0
    while data[place : place + 4] == _ITEM:
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        yield place + 8, min(place + 8 + length, len(data))
        place += 8 + length


def _comments(data: bytearray, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(first, last) of the text of each comment in a frame's header."""
    head = bytes(data[start : start + 4])
    if head.startswith(_JPEG):
        wanted, last_marker = _JPEG_COMMENTS, _START_OF_SCAN
    elif head == _JPEG_2000:
        wanted, last_marker = frozenset((_J2K_COMMENT,)), _START_OF_TILE
    else:
        return
    place = start + 2
    while place + 4 <= end and data[place] == 0xFF and data[place + 1] != last_marker:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] in wanted:
            skipped = 2 if data[place + 1] == _J2K_COMMENT else 0  # Rcom says what kind of text
            yield place + 4 + skipped, min(place + 2 + length, end)
        place += 2 + length
