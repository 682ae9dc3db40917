import dataclasses
from datetime import timedelta

import numpy as np
import pytest

from medsynth.core.errors import MedsynthError
from medsynth.core.keys import DEMO_KEYS
from privacy.vault import Rejected, buckets, expiry, lock, sweep, unlock


@pytest.fixture
def rejected():
    volumes = np.random.default_rng(0).random((2, 5, 6, 1), dtype=np.float32)
    return Rejected(("syn-a", "syn-b"), ("smallest", "below alpha"), volumes, expiry(30))


def test_what_is_locked_can_be_unlocked_with_the_key(tmp_path, rejected):
    opened = unlock(lock(tmp_path, rejected, DEMO_KEYS), DEMO_KEYS)
    assert opened.scan_ids == rejected.scan_ids
    assert opened.buckets == rejected.buckets
    assert np.array_equal(opened.volumes, rejected.volumes)


def test_the_file_tells_nothing_without_the_key(tmp_path, rejected):
    path = lock(tmp_path, rejected, DEMO_KEYS)
    assert b"syn-a" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(MedsynthError, match="does not open"):
        unlock(path, dataclasses.replace(DEMO_KEYS, vault=bytes(32)))


def test_a_changed_byte_is_noticed(tmp_path, rejected):
    path = lock(tmp_path, rejected, DEMO_KEYS)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(MedsynthError, match="does not open"):
        unlock(path, DEMO_KEYS)


def test_the_expiry_cannot_be_put_off(tmp_path, rejected):
    path = lock(tmp_path, rejected, DEMO_KEYS)
    assert unlock(path, DEMO_KEYS).expires == rejected.expires
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(MedsynthError, match="does not open"):
        unlock(path, DEMO_KEYS)


def test_what_another_key_locked_is_swept_too(tmp_path, rejected):
    other = dataclasses.replace(DEMO_KEYS, vault=bytes(32))
    lock(tmp_path, dataclasses.replace(rejected, expires=expiry(-1)), other)
    assert sweep(tmp_path) == 1


def test_only_what_has_expired_is_swept(tmp_path, rejected):
    path = lock(tmp_path, rejected, DEMO_KEYS)
    assert sweep(tmp_path) == 0
    assert sweep(tmp_path, rejected.expires + timedelta(days=1)) == 1
    assert not path.exists()


def test_a_p_value_is_kept_as_a_bucket_alone():
    assert buckets(np.array([0.01, 0.04]), 99) == ["smallest", "below alpha"]
