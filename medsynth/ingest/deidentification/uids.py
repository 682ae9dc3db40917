"""UIDs: the standard's own stay, every other becomes a keyed one, the same in every file."""

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from medsynth.core.keys import Keys

IMPLEMENTATION_UID = UID("2.25.201734226384013246170946917731527530846")
"""Says that medsynth wrote the file (PS3.10 7.1)."""


def keyed_uid(keys: Keys, uid: str) -> str:
    """The UID's keyed name below 2.25 (PS3.5 B.2: a 128-bit number in decimal)."""
    return f"2.25.{int(keys.digest('uid', uid)[:32], 16)}"


def is_standard(uid: str) -> bool:
    """Whether PS3.6 registers the UID: a class, a syntax, a well-known frame of reference."""
    return uid in UID_dictionary
