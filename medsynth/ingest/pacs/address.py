"""Where an archive answers: the URL that an operator gives in place of a folder.

dicomweb://HOST[:PORT]/ROOT    QIDO-RS and WADO-RS; dicomwebs:// over TLS
dimse://AET@HOST[:PORT]        C-FIND with C-GET or C-MOVE; dimses:// over TLS
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from medsynth.core.errors import UsageProblem

Kind = Literal["dicomweb", "dimse"]
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "dicomweb": ("dicomweb", False),
    "dicomwebs": ("dicomweb", True),
    "dimse": ("dimse", False),
    "dimses": ("dimse", True),
}
_PORTS = {("dicomweb", False): 80, ("dicomweb", True): 443, ("dimse", False): 104}
_DIMSE_TLS_PORT = 2762  # PS3.15 B.12
_FORMS = "dicomweb://HOST[:PORT]/ROOT, dicomwebs://..., dimse://AET@HOST:PORT or dimses://..."


@dataclass(frozen=True)
class Address:
    """An archive's address; `root` is DICOMweb's path, `called_aet` DIMSE's application entity."""

    kind: Kind
    host: str
    port: int
    root: str = ""
    called_aet: str = ""
    is_tls: bool = False

    @property
    def url(self) -> str:
        """The DICOMweb service as HTTP knows it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_tls else ''}://{host}:{self.port}{self.root}"


def is_address(text: str) -> bool:
    """Whether a source is an archive's address and no folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def parse_address(text: str) -> Address:
    """The address; raises UsageProblem, which never repeats what was given: it may be a secret."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageProblem(f"an archive's address must be {_FORMS}") from None
    if parts.scheme.lower() not in _SCHEMES or not host:
        raise UsageProblem(f"an archive's address must be {_FORMS}")
    kind, is_tls = _SCHEMES[parts.scheme.lower()]
    _check_holds_no_secret(parts, kind)
    port = port or _PORTS.get((kind, is_tls), _DIMSE_TLS_PORT)
    if kind == "dicomweb":
        return Address(kind, host, port, root=parts.path.rstrip("/"), is_tls=is_tls)
    if parts.path.strip("/"):
        raise UsageProblem("a DIMSE address must end with the port: dimse://AET@HOST:PORT")
    return Address(kind, host, port, called_aet=_aet(parts.username), is_tls=is_tls)


def _check_holds_no_secret(parts: SplitResult, kind: Kind) -> None:
    if parts.password is not None or (kind == "dicomweb" and parts.username is not None):
        raise UsageProblem(
            "an address must hold no user or password: set MEDSYNTH_PACS_USER and"
            " MEDSYNTH_PACS_PASSWORD, or the Prefect Secret block medsynth-pacs"
        )
    if parts.query or parts.fragment:
        raise UsageProblem("an address must hold no query: a token goes into MEDSYNTH_PACS_TOKEN")


def _aet(given: str | None) -> str:
    title = unquote(given or "").strip()
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title):
        raise UsageProblem(
            "a DIMSE address must name the archive's AE title (1 to 16 characters):"
            " dimse://AET@HOST:PORT"
        )
    return title
