"""DIMSE: C-FIND lists, C-GET or C-MOVE brings (PS3.4, annex C, Study Root model).

Everything runs on pynetdicom, imported late. What comes is the encoded data set as the archive
sent it, under a file header of ours.
"""

import ssl
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medsynth.ingest.pacs.address import Address
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.credentials import Credentials
from medsynth.ingest.pacs.peer import Receive, Series, Window, is_uid
from medsynth.ingest.pacs.problems import (
    ArchiveRefused,
    ArchiveUnreachable,
    RetrievalProblem,
    need,
)

if TYPE_CHECKING:
    from pynetdicom import AE
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
_MOST_CONTEXTS = 128
_UNKNOWN_DESTINATION = 0xA801
_NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_STORAGE = "1.2.840.10008.5.1.4.1.1"
_CLASS_ENDS = (
    *("1", "1.1", "1.1.1", "1.2", "1.2.1", "2", "2.1", "4", "4.1", "4.3"),
    *("6.1", "7", "12.1", "20", "128", "128.1", "130"),
)
_COMMON_CLASSES = tuple(f"{_STORAGE}.{end}" for end in _CLASS_ENDS)
"""CR, DX, MG, CT, MR (plain and enhanced), US, secondary capture, XA, NM, PET."""
_COMPRESSED = [
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
]


class Dimse:
    """An archive that speaks DIMSE; close it after use."""

    def __init__(self, address: Address, credentials: Credentials, config: PacsConfig) -> None:
        self._address, self._config = address, config
        self._aet = credentials.aet
        self._classes: dict[str, set[str]] = {}  # of the series listed last, by its UID
        self._tls = _tls(credentials, config) if address.is_tls else None
        self._receiver = _Receiver(self._ae(), config) if config.dimse_retrieve == "move" else None

    def close(self) -> None:
        """Stop listening."""
        if self._receiver is not None:
            self._receiver.close()

    def check(self) -> None:
        """An association, and nothing else."""
        with self._associated([_context(FIND, _NATIVE)]):
            pass

    def series(self, window: Window, modalities: Collection[str]) -> Iterator[Series]:
        """Studies of the window, then the series of each: no relational queries needed."""
        with self._associated([_context(FIND, _NATIVE)]) as association:
            asked = _identifier("STUDY", StudyInstanceUID="", StudyDate=window.dicom_range)
            for study in list(_find(association, asked)):
                uid, day = str(study.get("StudyInstanceUID", "")), str(study.get("StudyDate", ""))
                for modality in modalities or [""]:
                    for found in _find(association, _series_query(uid, modality)):
                        yield _series(found, uid, day)

    def instances(self, series: Series) -> list[str]:
        """SOP instance UIDs of a series."""
        found = self._instances(series)
        self._classes = {series.uid: {str(f.get("SOPClassUID", "")) for f in found}}
        return [str(f.get("SOPInstanceUID", "")) for f in found]

    def _instances(self, series: Series) -> list[Dataset]:
        asked = _identifier(
            "IMAGE",
            StudyInstanceUID=series.study_uid,
            SeriesInstanceUID=series.uid,
            SOPInstanceUID="",
            SOPClassUID="",
        )
        try:
            with self._associated([_context(FIND, _NATIVE)]) as association:
                return list(_find(association, asked))
        except ArchiveUnreachable:
            raise RetrievalProblem("broken_off") from None

    def fetch(self, series: Series, uids: Collection[str] | None, receive: Receive) -> None:
        """Hand over the series, or these instances."""
        asked = _identifier(
            "SERIES" if uids is None else "IMAGE",
            StudyInstanceUID=series.study_uid,
            SeriesInstanceUID=series.uid,
            **({} if uids is None else {"SOPInstanceUID": list(uids)}),
        )
        inbox = _Inbox(receive)
        try:
            if self._receiver is not None:
                self._move(asked, inbox, self._receiver)
            else:
                self._get(asked, inbox, series)
        except ArchiveUnreachable:
            raise RetrievalProblem("broken_off") from None
        finally:
            inbox.raise_fault()

    def _get(self, asked: Dataset, inbox: "_Inbox", series: Series) -> None:
        net = need("pynetdicom")
        classes = sorted(filter(is_uid, self._classes.get(series.uid, ())))
        stores = _store_contexts(classes or _COMMON_CLASSES)
        roles = [
            net.build_role(name, scp_role=True) for name in {c.abstract_syntax for c in stores}
        ]
        contexts = [_context(GET, _NATIVE), *stores]
        handlers = [(net.evt.EVT_C_STORE, inbox.take)]
        with self._associated(contexts, roles, handlers) as association:
            check_end(association.send_c_get(asked, GET))

    def _move(self, asked: Dataset, inbox: "_Inbox", receiver: "_Receiver") -> None:
        with receiver.filling(inbox), self._associated([_context(MOVE, _NATIVE)]) as association:
            try:
                check_end(association.send_c_move(asked, self._aet, MOVE))
            except (ArchiveUnreachable, RetrievalProblem):
                # Of a destination that they do not know, many archives say no more than this.
                if inbox.is_empty:
                    raise RetrievalProblem("refused") from None
                raise

    def _ae(self) -> "AE":
        ae: AE = need("pynetdicom").AE(ae_title=self._aet)
        ae.connection_timeout = ae.acse_timeout = self._config.timeout_seconds
        ae.dimse_timeout = ae.network_timeout = self._config.timeout_seconds
        ae.maximum_pdu_size = 0
        return ae

    @contextmanager
    def _associated(
        self,
        contexts: list["PresentationContext"],
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator["Association"]:
        address, ae = self._address, self._ae()
        association = ae.associate(
            address.host,
            address.port,
            contexts=contexts,
            ae_title=address.called_aet,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
            tls_args=(self._tls, address.host) if self._tls else None,
        )
        _check(association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
            ae.shutdown()


class _Inbox:
    """Hands what a C-STORE brings to `receive`; what goes wrong there ends the retrieval."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._lock = receive, threading.Lock()
        self._fault: Exception | None = None
        self.is_empty = True

    def take(self, event: Any) -> int:
        """Handler of one C-STORE request; a DIMSE status."""
        with self._lock:
            self.is_empty = False
            if self._fault is not None:
                return 0xA700  # out of resources: the archive may stop
            try:
                self._receive([event.encoded_dataset()])
            except Exception as error:
                self._fault = error
                return 0xA700
            return 0x0000

    def raise_fault(self) -> None:
        """Raise what went wrong; it is our side's, so it comes before the archive's complaint."""
        if self._fault is not None:
            raise self._fault from None


class _Receiver:
    """Our own storage SCP: takes C-STORE only while a C-MOVE of ours is at work."""

    def __init__(self, ae: "AE", config: PacsConfig) -> None:
        net = need("pynetdicom")
        self._inbox: _Inbox | None = None
        for context in net.AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
        ae.require_called_aet = True
        place = (config.listen_host, config.listen_port)
        handlers: list[Any] = [(net.evt.EVT_C_STORE, self._take)]
        try:
            self._server = ae.start_server(place, block=False, evt_handlers=handlers)
        except OSError:
            raise ArchiveRefused(
                "our receiver cannot listen: set listen_host and listen_port to a free port"
            ) from None

    @contextmanager
    def filling(self, inbox: _Inbox) -> Iterator[None]:
        """Inside, what comes goes into the inbox."""
        self._inbox = inbox
        try:
            yield
        finally:
            self._inbox = None

    def _take(self, event: Any) -> int:
        inbox = self._inbox
        return 0x0124 if inbox is None else inbox.take(event)  # not authorized

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()


def _tls(credentials: Credentials, config: PacsConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=credentials.ca or None)
    if not config.verify_tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if credentials.certificate:
        context.load_cert_chain(credentials.certificate, credentials.key or None)
    return context


def _check(association: "Association") -> None:
    if association.is_rejected:
        raise ArchiveRefused(
            "the archive rejected the association: check its AE title in the address, and that it"
            " knows ours (MEDSYNTH_PACS_AET)"
        )
    if not association.is_established:
        raise ArchiveUnreachable(
            "no association with the archive: is the address right, its certificate one that we"
            " trust (MEDSYNTH_PACS_CA), and ours one that it trusts?"
        )


def _find(association: "Association", asked: Dataset) -> Iterator[Dataset]:
    for status, found in association.send_c_find(asked, FIND):
        code = _code(status)
        if code in (0xFF00, 0xFF01) and found is not None:
            yield found
        elif code != 0x0000:
            raise ArchiveRefused(f"the archive refused the search (status 0x{code:04X})")


def check_end(answers: Any) -> None:
    """Wait for the end of a C-GET or C-MOVE; what is missing then, the spool sees."""
    code = -1
    for status, _ in answers:
        code = _code(status)
    if code == _UNKNOWN_DESTINATION:
        raise ArchiveRefused(
            "the archive does not know our AE title as a destination: register MEDSYNTH_PACS_AET"
            " with the address where listen_host and listen_port are reached"
        )
    if code not in (0x0000, 0xB000):
        raise RetrievalProblem("server_error")


def _code(status: Dataset) -> int:
    """DIMSE's status; an empty one means that the association is gone."""
    if "Status" not in status:
        raise ArchiveUnreachable(
            "the archive broke off, or fell silent: does it know our AE title (MEDSYNTH_PACS_AET)?"
        )
    return int(status.Status)


def _identifier(level: str, **keys: Any) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(identifier, name, value)
    return identifier


def _series_query(study_uid: str, modality: str) -> Dataset:
    return _identifier(
        "SERIES",
        StudyInstanceUID=study_uid,
        SeriesInstanceUID="",
        Modality=modality,
        SeriesDescription="",
        NumberOfSeriesRelatedInstances="",
    )


def _series(found: Dataset, study_uid: str, study_date: str) -> Series:
    count = str(found.get("NumberOfSeriesRelatedInstances") or "")
    return Series(
        study_uid=study_uid,
        uid=str(found.get("SeriesInstanceUID", "")),
        modality=str(found.get("Modality") or ""),
        description=str(found.get("SeriesDescription") or ""),
        study_date=study_date,
        count=int(count) if count.isdecimal() else None,
    )


def _context(abstract_syntax: str, syntaxes: Sequence[str]) -> "PresentationContext":
    context: PresentationContext = need("pynetdicom").build_context(abstract_syntax, list(syntaxes))
    return context


def _store_contexts(classes: Sequence[str]) -> list["PresentationContext"]:
    """A context per class for native syntaxes, and one per compressed syntax as far as they fit.

    One context may name many syntaxes, of which the archive takes one: so each compressed syntax
    needs its own, or what is stored in it could not come.
    """
    native = [_context(name, _NATIVE) for name in classes]
    apart = [_context(name, [syntax]) for syntax in _COMPRESSED for name in classes]
    return [*native, *apart][: _MOST_CONTEXTS - 1]
