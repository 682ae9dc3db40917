"""Private elements known to hold physics and nothing else.

From PS3.15 Table E.3.10-1 (safe private attributes), numbers alone, and the vendors' conformance
statements for diffusion and mosaics.
"""

from collections.abc import Mapping

_SAFE: Mapping[str, frozenset[int]] = {
    "SIEMENS MR HEADER": frozenset((0x0A, 0x0B, 0x0C, 0x0E, 0x27, 0x28, 0x29)),
    "GEMS_ACQU_01": frozenset((0x23, 0x24, 0x27, 0xBB, 0xBC, 0xBD)),
    "GEMS_PARM_01": frozenset((0x39,)),
    "GEMS_SERS_01": frozenset((0x07,)),
    "GEMS_HELIOS_01": frozenset((0x01, 0x02)),
    "ELSCINT1": frozenset((0x50,)),
    "Philips PET Private Group": frozenset((0x00, 0x09)),
    "Philips Imaging DD 001": frozenset((0x03,)),
    "PHILIPS IMAGING DD 001": frozenset((0x03,)),
    "Philips MR Imaging DD 001": frozenset((0x0D, 0x0E, 0xB0, 0xB1, 0xB2)),
    "PHILIPS MR IMAGING DD 001": frozenset((0x0D, 0x0E, 0xB0, 0xB1, 0xB2)),
}
SAFE_VRS = frozenset(("DS", "IS", "FD", "FL", "SL", "SS", "UL", "US"))


def is_safe(creator: str, element: int) -> bool:
    """Whether the low byte `element` of a creator's block is on the safe list."""
    return element in _SAFE.get(creator.strip(), frozenset())
