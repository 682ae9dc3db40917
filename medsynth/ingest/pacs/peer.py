"""An archive as the rest of this package sees it, whatever it speaks."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

Receive = Callable[[Iterable[bytes]], None]
"""Takes one DICOM file in chunks of bytes."""


@dataclass(frozen=True, repr=False)
class Series:
    """One series that the archive lists; `count` is its number of instances, where it says so."""

    study_uid: str
    uid: str
    modality: str
    description: str
    study_date: str
    count: int | None


@dataclass(frozen=True)
class Window:
    """Study dates asked for, both ends included; `None` is no bound."""

    first: date | None = None
    last: date | None = None

    @property
    def dicom_range(self) -> str:
        """Range matching of PS3.4, C.2.2.2.5; empty where every date is wanted."""
        if self.first is None and self.last is None:
            return ""
        ends = (f"{day:%Y%m%d}" if day else "" for day in (self.first, self.last))
        return "-".join(ends)

    def holds(self, study_date: str) -> bool:
        """Whether a date lies inside; an archive that does not tell it has looked for itself."""
        if not re.fullmatch(r"\d{8}", study_date):
            return True
        first = f"{self.first:%Y%m%d}" if self.first else ""
        return first <= study_date and (self.last is None or study_date <= f"{self.last:%Y%m%d}")


@runtime_checkable
class Peer(Protocol):
    """What can be asked of an archive."""

    def series(self, window: Window, modalities: Collection[str]) -> Iterator[Series]:
        """Series in the window; raises ArchiveRefused, ArchiveUnreachable."""
        ...

    def instances(self, series: Series) -> list[str]:
        """SOP instance UIDs of a series; raises RetrievalProblem."""
        ...

    def fetch(self, series: Series, uids: Collection[str] | None, receive: Receive) -> None:
        """Hand over these instances, or with `None` the whole series; raises RetrievalProblem."""
        ...

    def check(self) -> None:
        """Return if the archive answers; raises ArchiveRefused, ArchiveUnreachable."""
        ...


def is_uid(text: str) -> bool:
    """Whether a text is a UID that may stand in a URL."""
    return re.fullmatch(r"[0-9][0-9.]{0,63}", text) is not None
