"""The three secrets: one that names subjects, one that signs, one that locks the vault.

They live in one 0600 file outside every stage folder; receipts carry fingerprints only.
"""

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medsynth.core.errors import KeysMissing, UsageProblem


@dataclass(frozen=True, repr=False)
class Keys:
    """HMAC secret, ed25519 signing seed and vault key, 32 bytes each."""

    secret: bytes
    signing: bytes
    vault: bytes
    is_demo: bool = False

    def __post_init__(self) -> None:
        for name in ("secret", "signing", "vault"):
            if len(getattr(self, name)) != 32:
                raise ValueError(f"{name} key must have 32 bytes, got {len(getattr(self, name))}")

    @property
    def fingerprint(self) -> str:
        """What a receipt may say of the naming secret: a digest nobody can turn back."""
        return self.digest("fingerprint")[:16]

    @property
    def public_key(self) -> str:
        """The ed25519 public key, hex."""
        private = Ed25519PrivateKey.from_private_bytes(self.signing)
        return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def digest(self, *parts: str) -> str:
        """HMAC-SHA-256 of the parts, hex: the same input always gets the same name."""
        message = "\x1f".join(parts).encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    def subject_id(self, patient_id: str) -> str:
        """Our stable name for a patient."""
        return f"sub-{self.digest('subject', patient_id)[:16]}"

    def scan_id(self, *parts: str) -> str:
        """Our stable name for a scan."""
        return f"scan-{self.digest('scan', *parts)[:16]}"

    def sign(self, message: bytes) -> str:
        """ed25519 signature, hex."""
        return Ed25519PrivateKey.from_private_bytes(self.signing).sign(message).hex()


def _published(name: str) -> bytes:
    return hashlib.sha256(f"medsynth demo key, known to everybody: {name}".encode()).digest()


DEMO_KEYS = Keys(_published("secret"), _published("signing"), _published("vault"), is_demo=True)
"""Published keys for phantoms; every policy but `demo` refuses them."""


def create_keys(path: Path) -> Keys:
    """Write fresh keys to a new 0600 file; an existing one is never overwritten."""
    keys = Keys(secrets.token_bytes(32), secrets.token_bytes(32), secrets.token_bytes(32))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fields = {name: getattr(keys, name).hex() for name in ("secret", "signing", "vault")}
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageProblem("keys already exist; they are never overwritten") from None
    with os.fdopen(handle, "w") as file:
        json.dump({"format": "medsynth-keys-1", **fields}, file, indent=1)
    return keys


def read_keys(path: Path) -> Keys:
    """The keys of a file that `create_keys` wrote; it must be readable by its owner alone."""
    if not path.is_file():
        raise KeysMissing
    if path.stat().st_mode & 0o077:
        raise UsageProblem("the key file must be readable by its owner alone: run chmod 600 on it")
    fields = json.loads(path.read_text())
    secret, signing, vault = (bytes.fromhex(fields[n]) for n in ("secret", "signing", "vault"))
    return Keys(secret, signing, vault)
