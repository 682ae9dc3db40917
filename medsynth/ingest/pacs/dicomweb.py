"""DICOMweb: QIDO-RS lists, WADO-RS brings (PS3.18, sections 10.6 and 10.4).

Plain HTTP and not dicomweb-client, whose datasets are parsed and written anew: here an
instance's bytes go from the wire to its file, and no URL with a UID gets into a log.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medsynth.ingest.pacs.address import Address
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.credentials import Credentials
from medsynth.ingest.pacs.multipart import boundary_of, parts
from medsynth.ingest.pacs.peer import Receive, Series, Window
from medsynth.ingest.pacs.problems import (
    ArchiveFailed,
    ArchiveRefused,
    ArchiveUnreachable,
    RetrievalProblem,
    need,
)

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
_STUDY_DATE, _MODALITY, _DESCRIPTION, _COUNT = "00080020", "00080060", "0008103E", "00201209"
_FIELDS = (STUDY_UID, SERIES_UID, _STUDY_DATE, _MODALITY, _DESCRIPTION, _COUNT)
_JSON = "application/dicom+json"
# As stored: no transcoding on the archive's side, and the same bytes every time.
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK_BYTES = 1 << 18
_REASONS = {401: "refused", 403: "forbidden", 404: "not_found", 410: "not_found"}


class DicomWeb:
    """An archive that speaks DICOMweb; close it after use."""

    def __init__(self, address: Address, credentials: Credentials, config: PacsConfig) -> None:
        self._url, self._config = address.url, config
        self._session = _session(credentials, config)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def check(self) -> None:
        """One small question."""
        self._ask("studies", {"limit": "1"})

    def series(self, window: Window, modalities: Collection[str]) -> Iterator[Series]:
        """Series of the window, page by page.

        Searching all series at once is optional in the standard; an archive that cannot is asked
        study by study.
        """
        dates = {"StudyDate": window.dicom_range} if window.dicom_range else {}
        for modality in modalities or [""]:
            one = {"Modality": modality} if modality else {}
            try:
                yield from map(_series, self._pages("series", {**dates, **one}, _FIELDS))
            except _CannotSearch:
                yield from self._series_by_study(dates, one)

    def _series_by_study(
        self, dates: Mapping[str, str], modality: Mapping[str, str]
    ) -> Iterator[Series]:
        for study in self._pages("studies", dates, (STUDY_UID, _STUDY_DATE)):
            uid = _value(study, STUDY_UID)
            for found in self._pages(f"studies/{uid}/series", modality, _FIELDS):
                yield _series({**study, **found})

    def instances(self, series: Series) -> list[str]:
        """SOP instance UIDs of a series."""
        place = f"studies/{series.study_uid}/series/{series.uid}/instances"
        try:
            return [_value(found, SOP_UID) for found in self._pages(place, {}, (SOP_UID,))]
        except ArchiveFailed:
            raise RetrievalProblem("server_error") from None
        except ArchiveUnreachable:
            raise RetrievalProblem("broken_off") from None

    def fetch(self, series: Series, uids: Collection[str] | None, receive: Receive) -> None:
        """Hand over the series in one stream, or instances one by one."""
        place = f"studies/{series.study_uid}/series/{series.uid}"
        for path in [place] if uids is None else [f"{place}/instances/{uid}" for uid in uids]:
            with self._stream(path) as answer:
                boundary = boundary_of(answer.headers.get("Content-Type", ""))
                for part in parts(answer.iter_content(_CHUNK_BYTES), boundary):
                    receive(part)

    @contextmanager
    def _stream(self, path: str) -> Iterator["Response"]:
        """An answer as it comes; every failure below is one of this series."""
        requests = need("requests")
        try:
            with self._get(path, {}, _DICOM) as answer:
                if answer.status_code != 200:
                    raise RetrievalProblem(_REASONS.get(answer.status_code, "server_error"))
                yield answer
        except requests.RequestException:
            raise RetrievalProblem("broken_off") from None

    def _pages(
        self, place: str, filters: Mapping[str, str], fields: Collection[str]
    ) -> Iterator[dict[str, Any]]:
        """Every match; an archive that pays no heed to the offset ends with its first page."""
        size, offset, previous = self._config.page_size, 0, None
        while True:
            paging = {"limit": str(size), "offset": str(offset)}
            page = self._ask(place, {**filters, "includefield": ",".join(fields), **paging})
            if not page or page == previous:
                return
            yield from page
            if len(page) != size:
                return
            previous, offset = page, offset + len(page)

    def _ask(self, place: str, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        requests = need("requests")
        try:
            answer = self._get(place, filters, _JSON)
            content = answer.content
        except requests.exceptions.SSLError:
            raise ArchiveRefused(
                "no trust in the archive's certificate, or it wants one of ours: set"
                " MEDSYNTH_PACS_CA, or MEDSYNTH_PACS_CERTIFICATE and MEDSYNTH_PACS_KEY"
            ) from None
        except requests.RequestException:
            raise ArchiveUnreachable("the archive does not answer; is the address right?") from None
        _check(answer.status_code, place)
        return _matches(content)

    def _get(self, place: str, filters: Mapping[str, str], accept: str) -> "Response":
        return self._session.get(
            f"{self._url}/{place}",
            params=dict(filters),
            headers={"Accept": accept, "Accept-Encoding": "identity"},
            timeout=self._config.timeout_seconds,
            stream=accept == _DICOM,
            allow_redirects=False,  # a token goes to the archive that was named, to nobody else
        )


class _CannotSearch(Exception):
    """The archive does not know this search."""


def _session(credentials: Credentials, config: PacsConfig) -> "Session":
    requests = need("requests")
    session: Session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc, no bundle that nobody named
    session.verify = (credentials.ca or True) if config.verify_tls else False
    if credentials.certificate:
        pair = (credentials.certificate, credentials.key)
        session.cert = pair if credentials.key else credentials.certificate
    if credentials.token:
        session.auth = _Bearer(credentials.token)
    elif credentials.user:
        session.auth = (credentials.user, credentials.password)
    return session


class _Bearer:
    """RFC 6750, section 2.1."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: "PreparedRequest") -> "PreparedRequest":
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _check(status: int, place: str) -> None:
    if status in (401, 403):
        raise ArchiveRefused(
            f"the archive refused our credentials ({status}): check MEDSYNTH_PACS_TOKEN, or"
            " MEDSYNTH_PACS_USER and MEDSYNTH_PACS_PASSWORD, or the block medsynth-pacs"
        )
    if status in (400, 404, 405, 501) and place == "series":
        raise _CannotSearch
    if status in (408, 429) or status >= 500:
        raise ArchiveFailed(f"the archive failed ({status}); try again later")
    if status not in (200, 204):
        raise ArchiveRefused(f"no DICOMweb service answers at this address ({status})")


def _matches(content: bytes) -> list[dict[str, Any]]:
    """DICOM JSON (PS3.18, annex F): a list of data sets; nothing where nothing matches."""
    try:
        found = json.loads(content) if content else []
    except ValueError:
        found = None
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ArchiveRefused("no DICOMweb service answers at this address (no DICOM JSON)")
    return found


def _value(match: Mapping[str, Any], tag: str) -> str:
    element = match.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _series(match: Mapping[str, Any]) -> Series:
    count = _value(match, _COUNT)
    return Series(
        study_uid=_value(match, STUDY_UID),
        uid=_value(match, SERIES_UID),
        modality=_value(match, _MODALITY),
        description=_value(match, _DESCRIPTION),
        study_date=_value(match, _STUDY_DATE),
        count=int(count) if count.isdecimal() else None,
    )
