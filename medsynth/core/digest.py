"""Digests: the same scan, cohort or file always has the same name, whatever holds it.

A scan's digest is over its voxels and affine; a cohort's is the Merkle tree root of RFC 6962,
section 2.1, over its scans and their attributes (RFC 8785 canonical JSON).
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
from jaxtyping import Float, Shaped

_SLAB, _PLANES = 32, 8  # voxels along the first and the last axis that are turned at once


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
    for piece in _in_c_order(voxels):
        sha.update(piece.astype(voxels.dtype.newbyteorder("<"), copy=False).data)
    sha.update(np.ascontiguousarray(affine, "<f4").tobytes())
    return sha.hexdigest()


def _in_c_order(voxels: Shaped[np.ndarray, "i j k"]) -> Iterator[Shaped[np.ndarray, "_ j k"]]:
    """The voxels piece by piece along the first axis, the last one running fastest in memory.

    A piece is overwritten by the next: pieces that stay in the cache are as fast as one copy of
    everything, which would need as much memory again.
    """
    if voxels.flags.c_contiguous:
        yield voxels
        return
    slab = np.empty((_SLAB, *voxels.shape[1:]), voxels.dtype)
    # Flipped axes are copied as they lie and turned in the cache, where that costs nothing.
    as_lying = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in voxels.strides)
    for i in range(0, len(voxels), _SLAB):
        part = voxels[i : i + _SLAB]
        piece = slab[: len(part)]
        for k in range(0, voxels.shape[2], _PLANES):
            planes = slice(k, k + _PLANES)
            block = np.ascontiguousarray(part[..., planes][as_lying].T).T
            piece[..., planes] = block[as_lying]
        yield piece


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
