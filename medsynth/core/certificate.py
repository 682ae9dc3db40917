"""The certificate's format, and how anyone checks one without private data.

A certificate is a JSON object `{"body", "public_key", "signature"}`; the signature is ed25519
(RFC 8032) over the RFC 8785 canonical JSON of the body.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from medsynth.core.digest import canonical_json, json_digest
from medsynth.core.errors import CertificateInvalid
from medsynth.core.keys import DEMO_KEYS, Keys

FORMAT = "medsynth-certificate-1"
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
_REQUIRED = (
    "format",
    "verdict",
    "scope",
    "policy",
    "digests",
    "gates",
    "issued",
    "expires",
    "does_not_show",
)


@dataclass(frozen=True)
class Certificate:
    """A signed verdict.

    The body holds `format`, `verdict`, `scope` ("data" or "model"), `policy` {name, digest},
    `digests` {cohort (Merkle root of the accepted scans), model, folds, code, evidence},
    `num_synthetic`, `num_rejected` (rounded), `gates` (one row per gate and kind), `issued`,
    `expires` (ISO 8601, UTC) and `does_not_show`.
    """

    body: Mapping[str, Any]
    public_key: str
    signature: str

    @property
    def verdict(self) -> Verdict:
        """PASS, FAIL or INCONCLUSIVE."""
        verdict: Verdict = self.body["verdict"]
        return verdict

    @property
    def is_demo(self) -> bool:
        """Whether the published demo keys signed it."""
        return self.public_key == DEMO_KEYS.public_key

    @property
    def digest(self) -> str:
        """Digest of body, key and signature."""
        return json_digest(self._fields())

    def _fields(self) -> dict[str, Any]:
        return {
            "body": dict(self.body),
            "public_key": self.public_key,
            "signature": self.signature,
        }

    def write(self, path: Path) -> None:
        """Write as indented JSON."""
        path.write_text(json.dumps(self._fields(), indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Certificate":
        """Read without checking; raises CertificateInvalid where it is no certificate at all."""
        try:
            fields = json.loads(path.read_text())
            certificate = cls(fields["body"], fields["public_key"], fields["signature"])
            missing = [name for name in _REQUIRED if name not in certificate.body]
        except (OSError, ValueError, KeyError, TypeError):
            raise CertificateInvalid("no readable certificate was found") from None
        if missing or certificate.body["format"] != FORMAT:
            raise CertificateInvalid(f"a certificate must be of format {FORMAT}; this one is not")
        return certificate

    def check(self, *, trusted: Collection[str] | None, now: datetime | None = None) -> None:
        """Raise CertificateInvalid unless signed by a trusted key and in force.

        `trusted` are public keys, hex; `None` checks the signature against the key it names.
        """
        if trusted is not None and self.public_key not in trusted:
            raise CertificateInvalid("the certificate must be signed by a trusted key; it is not")
        check_signature(canonical_json(dict(self.body)), self.public_key, self.signature)
        expires = datetime.fromisoformat(self.body["expires"])
        if (now or datetime.now(UTC)) >= expires:
            raise CertificateInvalid(f"the certificate expired on {expires.date()}; audit again")


def sign_certificate(body: Mapping[str, Any], keys: Keys) -> Certificate:
    """Sign a body that holds every required field."""
    missing = [name for name in _REQUIRED if name not in body]
    if missing:
        raise ValueError(
            f"a certificate needs {', '.join(_REQUIRED)}; missing {', '.join(missing)}"
        )
    return Certificate(dict(body), keys.public_key, keys.sign(canonical_json(dict(body))))


def check_signature(message: bytes, public_key: str, signature: str) -> None:
    """Raise CertificateInvalid unless the signature (hex) is this key's over the message."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        raise CertificateInvalid("the signature does not match; something was changed") from None
