"""One level of a data set, default deny: what the IOD lists, the table allows and a form proves.

A new data set is built; nothing is deleted from the old one, so nothing can be forgotten in it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydicom import config as pydicom_config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import Keys
from medsynth.ingest.deidentification.codes import CODE_KEYWORDS, UNKNOWN, known_code, write_code
from medsynth.ingest.deidentification.csa_numbers import CREATOR, ELEMENT, numbers_alone
from medsynth.ingest.deidentification.dates import capped_age, moved, shift_days
from medsynth.ingest.deidentification.modules import Allowed, item_level
from medsynth.ingest.deidentification.options import Option, Profile
from medsynth.ingest.deidentification.private import SAFE_VRS, is_safe
from medsynth.ingest.deidentification.table import Action, listed_action
from medsynth.ingest.deidentification.uids import is_standard, keyed_uid
from medsynth.ingest.deidentification.values import (
    DATE_VRS,
    TEXT_VRS,
    echoes_of,
    is_echo,
    safe_value,
    several,
)

_PSEUDONYMS = ("PatientID", "PatientName")
_NEVER = ("IconImageSequence", "ICCProfile", "SpecificCharacterSet")
_CODE_TAGS = frozenset(Tag(keyword) for keyword in CODE_KEYWORDS)
_CODE_VALUE = int(Tag("CodeValue"))
_DUMMIES: Mapping[str, Any] = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "CS": "OTHER",
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "REMOVED"),
}


@dataclass(frozen=True)
class Cleaner:
    """What cleaning one file needs: whose it is, and the words that must not be said again."""

    keys: Keys
    profile: Profile
    subject: str
    echoes: frozenset[str]
    tally: Counter[str]

    @cached_property
    def _days(self) -> int:
        return shift_days(self.keys, self.subject) if self._moves_dates else 0

    @property
    def _moves_dates(self) -> bool:
        return self.profile.has(Option.MODIFIED_DATES)

    def clean(self, dataset: Dataset, allowed: Allowed) -> Dataset:
        """What may be kept of one level, of which the IOD lists `allowed`."""
        kept = Dataset()
        for tag in sorted(dataset.keys()):
            if tag in _CODE_TAGS:
                continue
            element = None
            if tag.is_private:
                element = self._private(dataset, tag)
            elif int(tag) in allowed:
                element = self._element(dataset[tag], allowed[int(tag)])
            if element is None:
                self.tally["remove"] += 1
            else:
                kept.add(element)
        return kept

    def _element(self, element: DataElement, kind: str) -> DataElement | None:
        if element.VR in ("UN", "UR") or element.keyword in _NEVER:
            return None
        return self._carry_out(self._action(element, kind), element, kind)

    def _action(self, element: DataElement, kind: str) -> Action:
        """The table's action; where it is silent, dates follow their options, all else its form."""
        is_date = element.VR in DATE_VRS
        listed = listed_action(element.tag, self.profile, kind, is_date=is_date)
        if listed is not None:
            return listed
        keeps_dates = self._moves_dates or self.profile.has(Option.FULL_DATES)
        return _by_type(kind) if is_date and not keeps_dates else Action.CLEAN

    def _carry_out(self, action: Action, element: DataElement, kind: str) -> DataElement | None:
        if action is Action.REMOVE:
            return None
        if element.keyword in _PSEUDONYMS:
            return self._made("replace", element, self.keys.subject_id(self.subject))
        if action is Action.BLANK:
            return self._made("blank", element, _nothing(element))
        if element.VR == "SQ":
            return self._sequence(element, kind)
        if element.VR == "UI":
            return self._uids(element)
        if action is Action.REPLACE:
            return self._dummy(element)
        return self._survivor(action, element, kind)

    def _survivor(self, action: Action, element: DataElement, kind: str) -> DataElement | None:
        """A value that may stay, where its form allows; else what the attribute's type needs."""
        if element.is_empty:
            return self._made("keep", element, _nothing(element))
        value = self._value(action, element)
        if value is None or value == "":
            return self._carry_out(_by_type(kind), element, kind)
        if element.VR in DATE_VRS and self._moves_dates:
            return self._made("shift", element, value)
        return self._made("keep" if value == element.value else "clean", element, value)

    def _value(self, action: Action, element: DataElement) -> Any:
        values = several(element.value)
        if element.VR in DATE_VRS:
            dates = [moved(element.VR, str(value), self._days) for value in values]
            return "" if not all(dates) else dates[0] if len(dates) == 1 else dates
        if element.VR == "AS":
            return capped_age(str(element.value))
        # Options that retain text as it stands are those of devices and institutions.
        if action is Action.KEEP and element.VR in TEXT_VRS and element.tag.group != 0x0010:
            is_said = any(is_echo(str(value), self.echoes) for value in values)
            return None if is_said else element.value
        return safe_value(element, self.echoes)

    def _uids(self, element: DataElement) -> DataElement:
        uids = [str(uid) for uid in several(element.value)]
        if self.profile.has(Option.UIDS):
            return self._made("keep", element, element.value)
        named = [uid if is_standard(uid) else keyed_uid(self.keys, uid) for uid in uids]
        value = named[0] if len(named) == 1 else named or None
        return self._made("keep" if named == uids else "uid", element, value)

    def _sequence(self, element: DataElement, kind: str) -> DataElement | None:
        items = [self._item(item, element.tag, kind) for item in element.value]
        kept = [item for item in items if item is not None]
        if not any(len(item) for item in kept):
            if _by_type(kind) is Action.REMOVE:
                return None
            kept = []
        return self._made("keep" if kept else "blank", element, Sequence(kept))

    def _item(self, item: Dataset, sequence: BaseTag, kind: str) -> Dataset | None:
        allowed = item_level(int(sequence))
        kept = self.clean(item, allowed)
        if _CODE_VALUE not in allowed:
            return kept
        code = known_code(item)
        if code is None and kind not in ("1", "1C"):
            return None
        write_code(kept, code or UNKNOWN)
        return kept

    def _private(self, dataset: Dataset, tag: BaseTag) -> DataElement | None:
        """A number of the safe list, or the creator of a block that has one."""
        if not self.profile.has(Option.SAFE_PRIVATE) or tag.element < 0x0010:
            return None
        if tag.is_private_creator:
            block = [
                t for t in list(dataset.keys()) if t.group == tag.group and t.elem >> 8 == tag.elem
            ]
            is_used = any(self._private(dataset, other) is not None for other in block)
            return self._made("keep", dataset[tag], dataset[tag].value) if is_used else None
        creator = dataset.get((tag.group, tag.element >> 8))
        if creator is None:
            return None
        if (str(creator.value).strip(), tag.element & 0xFF) == (CREATOR, ELEMENT):
            return self._csa(dataset[tag])
        if not is_safe(str(creator.value), tag.element & 0xFF):
            return None
        element = dataset[tag]
        value = safe_value(element, self.echoes) if element.VR in SAFE_VRS else None
        return None if value is None else self._made("keep", element, value)

    def _csa(self, element: DataElement) -> DataElement | None:
        value = numbers_alone(element.value) if isinstance(element.value, bytes) else b""
        return self._made("clean", element, value) if value else None

    def _dummy(self, element: DataElement) -> DataElement:
        """A value that means nothing; there is none for a number, on which an image may depend."""
        if element.VR not in _DUMMIES:
            raise UnreadableScan("bad_element")
        return self._made("replace", element, _DUMMIES[str(element.VR)])

    def _made(self, name: str, element: DataElement, value: Any) -> DataElement:
        """An element of our own with the old one's tag; scanners' overlong numbers stay as read."""
        self.tally[name] += 1
        made = DataElement(element.tag, element.VR, value, validation_mode=pydicom_config.IGNORE)
        made.is_undefined_length = element.is_undefined_length and element.VR != "SQ"
        return made


def cleaner_of(dataset: Dataset, keys: Keys, profile: Profile, tally: Counter[str]) -> Cleaner:
    """The cleaner of a file, by whom it names."""
    subject = str(dataset.PatientID).strip()
    return Cleaner(keys, profile, subject, echoes_of(dataset, profile), tally)


def _by_type(kind: str) -> Action:
    """What an attribute needs whose value may not stay (PS3.5 7.4)."""
    if kind in ("1", "1C"):
        return Action.REPLACE
    return Action.BLANK if kind in ("2", "2C") else Action.REMOVE


def _nothing(element: DataElement) -> Any:
    return Sequence() if element.VR == "SQ" else None
