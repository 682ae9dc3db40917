import hashlib

import numpy as np
import pytest

from medsynth.core.digest import json_digest, merkle_root, scan_digest


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_scan_digest_is_the_documented_byte_string() -> None:
    voxels = np.arange(6, dtype=np.int16).reshape(1, 2, 3)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    message = b"medsynth-scan-1\n1,2,3\nint16\n" + voxels.astype("<i2").tobytes()
    expected = hashlib.sha256(message + affine.astype("<f4").tobytes()).hexdigest()
    assert scan_digest(voxels, affine) == expected


def test_scan_digest_ignores_memory_order_and_byte_order() -> None:
    voxels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    affine = np.eye(4)
    swapped = np.asfortranarray(voxels.astype(">u2"))
    assert scan_digest(swapped, affine) == scan_digest(voxels, affine)


@pytest.mark.parametrize("change", ["voxel", "affine", "dtype", "shape"])
def test_scan_digest_notices_every_change(change: str) -> None:
    voxels, affine = np.zeros((2, 3, 4), np.uint16), np.eye(4)
    before = scan_digest(voxels, affine)
    if change == "voxel":
        voxels = voxels + np.eye(3, 4, dtype=np.uint16)
    elif change == "affine":
        affine = affine * 1.001
    elif change == "dtype":
        voxels = voxels.astype(np.int16)
    else:
        voxels = voxels.reshape(3, 2, 4)
    assert scan_digest(voxels, affine) != before


def test_merkle_root_follows_rfc_6962() -> None:
    a, b, c = b"a", b"b", b"c"
    leaf = [sha(b"\0", x) for x in (a, b, c)]
    assert merkle_root([]) == hashlib.sha256(b"").hexdigest()
    assert merkle_root([a]) == leaf[0].hex()
    assert merkle_root([a, b, c]) == sha(b"\1", sha(b"\1", leaf[0], leaf[1]), leaf[2]).hex()


@pytest.mark.parametrize("count", [2, 5, 8, 13])
def test_merkle_root_depends_on_every_leaf_and_on_their_order(count: int) -> None:
    leaves = [bytes([i]) for i in range(count)]
    roots = {merkle_root(leaves), merkle_root(leaves[::-1])}
    for i in range(count):
        roots.add(merkle_root([*leaves[:i], b"x", *leaves[i + 1 :]]))
    assert len(roots) == count + 2


def test_json_digest_ignores_the_order_of_keys() -> None:
    assert json_digest({"a": 1, "b": [2.5, None]}) == json_digest({"b": [2.5, None], "a": 1})
