"""Private elements are found by who reserved their block, not by a number that may move.

Source: DICOM PS3.5, section 7.8.
"""

from medsynth.ingest.dicom.elements import Elements

_ABSENT = 0


def private_tag(elements: Elements, group: int, creator: str, element: int) -> int:
    """The tag of a private element, 0 (which no file has) where its block is not reserved.

    A creator that de-identification took away is taken to have held the first block.
    """
    reserved = False
    for block in range(0x10, 0x20):
        name = elements.text(group << 16 | block)
        if name.upper().startswith(creator.upper()):
            return group << 16 | block << 8 | element
        reserved |= bool(name)
    return _ABSENT if reserved else group << 16 | 0x1000 | element
