"""The vault: rejected scans, encrypted, kept for review until they expire, never in a manifest.

A file is its format, the second at which it expires, a nonce, and the AES-256-GCM ciphertext of a
numpy archive that authenticates what stands before it; its name says nothing. The expiry is
readable without the key, so that files of any key are swept.
"""

import io
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jaxtyping import Float

from medsynth.core.errors import MedsynthError
from medsynth.core.keys import Keys

_FORMAT = b"medsynth-vault-2"
_EXPIRY = 8  # bytes, big-endian seconds since 1970 UTC
_HEAD = len(_FORMAT) + _EXPIRY
_NONCE = 12  # bytes
_LATEST = 1 << 37  # seconds: the year 6325; a later date is no date


@dataclass(frozen=True, eq=False)
class Rejected:
    """Scans that must not leave: which, why (a p-value's bucket), until when."""

    scan_ids: tuple[str, ...]
    buckets: tuple[str, ...]
    volumes: Float[np.ndarray, "n i j k"]
    expires: datetime


def lock(vault: Path, rejected: Rejected, keys: Keys) -> Path:
    """Write rejected scans into the vault, encrypted, and return the file."""
    vault.mkdir(parents=True, exist_ok=True, mode=0o700)
    header = {"scan_ids": rejected.scan_ids, "buckets": rejected.buckets}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez_compressed(buffer, header=text, volumes=rejected.volumes)
    nonce = secrets.token_bytes(_NONCE)
    head = _FORMAT + int(rejected.expires.timestamp()).to_bytes(_EXPIRY, "big")
    path = vault / f"{secrets.token_hex(8)}.locked"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(head + nonce + AESGCM(keys.vault).encrypt(nonce, buffer.getvalue(), head))
    return path


def unlock(path: Path, keys: Keys) -> Rejected:
    """The rejected scans of one vault file; only the vault key opens it."""
    data = path.read_bytes()
    head, nonce, locked = data[:_HEAD], data[_HEAD : _HEAD + _NONCE], data[_HEAD + _NONCE :]
    try:
        plain = AESGCM(keys.vault).decrypt(nonce, locked, head)
    except InvalidTag:
        raise MedsynthError("the vault key does not open this file, or it was changed") from None
    with np.load(io.BytesIO(plain), allow_pickle=False) as archive:
        header = json.loads(archive["header"].tobytes())
        volumes = archive["volumes"]
    return Rejected(tuple(header["scan_ids"]), tuple(header["buckets"]), volumes, _expires(path))


def sweep(vault: Path, now: datetime | None = None) -> int:
    """Delete what has expired, whatever key locked it; the number of files deleted."""
    late = [path for path in vault.glob("*.locked") if _expires(path) <= (now or _now())]
    for path in late:
        path.unlink()
    return len(late)


def _expires(path: Path) -> datetime:
    """When a file expires; one that is not of this format has expired."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    seconds = int.from_bytes(head[len(_FORMAT) :], "big") if head.startswith(_FORMAT) else 0
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)


def expiry(days: int) -> datetime:
    """When something locked today expires."""
    return _now() + timedelta(days=days)


def buckets(p_values: Float[np.ndarray, " n"], num_null: int) -> Sequence[str]:
    """The only thing kept of a p-value: whether it is the smallest possible."""
    return ["smallest" if p <= 1 / (num_null + 1) else "below alpha" for p in p_values]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
