"""What an archive asks for before it answers; only flows/ reads these, never a config file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from medsynth.core.errors import UsageProblem


@dataclass(frozen=True, repr=False)
class Credentials:
    """Secrets of one archive; empty where not given. Files are PEM."""

    token: str = ""
    """Bearer token of DICOMweb."""
    user: str = ""
    """User of HTTP's basic authentication."""
    password: str = ""
    """Password of that user."""
    certificate: str = ""
    """File with the client's certificate, for TLS on both sides."""
    key: str = ""
    """File with the key of that certificate; empty: it lies in the same file."""
    ca: str = ""
    """File with the authority that signed the archive's certificate; empty: the public ones."""
    aet: str = "MEDSYNTH"
    """Our own AE title, by which many archives decide who may ask."""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Credentials":
        """Credentials of a mapping; raises UsageProblem that names a wrong key, never a value."""
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise UsageProblem(f"an archive's secret must be one of {names}, got {unknown}")
        credentials = cls(**{name: str(value) for name, value in given.items() if value})
        for name in ("certificate", "key", "ca"):
            path = getattr(credentials, name)
            if path and not Path(path).is_file():
                raise UsageProblem(f"the archive's {name} must be an existing file, found none")
        if credentials.token and credentials.user:
            raise UsageProblem("an archive takes a token or a user, not both")
        return credentials
