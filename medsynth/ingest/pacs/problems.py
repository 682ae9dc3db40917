"""What may go wrong between us and an archive; no message holds a word of the archive's own."""

import importlib
from types import ModuleType

from medsynth.core.errors import MedsynthError, UsageProblem


class RetrievalProblem(Exception):
    """One series could not be fetched: its reason is counted, and the work goes on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ArchiveUnreachable(MedsynthError):
    """Nobody answers, or not in time: worth another try later."""

    code = "archive_unreachable"


class ArchiveFailed(ArchiveUnreachable):
    """It answers that it cannot answer: overload or a fault of its own."""


class ArchiveRefused(MedsynthError):
    """The archive answers, and says no: only a person can change that."""

    code = "archive_refused"


class SpoolBusy(MedsynthError):
    """Another run is retrieving into the same spool."""

    code = "busy"


RETRIEVAL_REASONS = {
    "broken_off": "the archive broke the transfer off, or fell silent",
    "forbidden": "the archive does not give this series to us (403)",
    "incomplete": "fewer instances came than the archive lists",
    "not_found": "the archive lists the series and does not have it (404)",
    "refused": "the archive refused the retrieval (C-MOVE: does it know our AE title?)",
    "server_error": "the archive failed (5xx, or a DIMSE failure)",
    "too_large": "an instance is larger than max_instance_bytes",
    "unreadable": "what came is no DICOM file, or no multipart answer",
}
"""Why a series is a dead letter, a line of explanation each."""


def need(name: str) -> ModuleType:
    """An optional library; raises UsageProblem that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageProblem(
            f"reading from a PACS needs {name}: pip install 'medsynth[pacs]'"
        ) from None
