from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, Provenance, Scan, load_arrays, load_scan, store_scan
from medsynth.core.schema import Attribute, AttributeSchema

SCHEMA = AttributeSchema((Attribute("age", "continuous"), Attribute("sex", "category")))


def store(folder: Path, number: int, **fields: object) -> Scan:
    array = np.full((1, 3, 4, 1), number, np.float32)
    volume = Volume(array, Geometry((3, 4, 1), np.diag([1.5, 1.5, 5, 1])))
    return store_scan(
        folder,
        volume,
        scan_id=f"scan-{number}",
        subject_id=f"sub-{number // 2}",
        modality="MR",
        attributes={"age": float(number), "sex": None},
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    scans = [store(tmp_path, n, fold="train" if n < 3 else "control") for n in (3, 1, 2)]
    return Manifest(tuple(scans), SCHEMA)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path, manifest: Manifest) -> None:
    scans = [
        replace(s, flags=("lossy",), provenance=Provenance(("a",), 2, 0.5, {"EchoTime": 4.5}))
        for s in manifest
    ]
    manifest.keep(scans).write(tmp_path)
    assert Manifest.read(tmp_path) == manifest.keep(scans)


def test_measured_values_become_got_columns(tmp_path: Path, manifest: Manifest) -> None:
    scans = [replace(s, measured={"age": 1.5, "sex": "F"}) for s in manifest]
    manifest.keep(scans).write(tmp_path)
    assert Manifest.read(tmp_path).scans[0].measured == {"age": 1.5, "sex": "F"}


def test_scans_are_ordered_and_folds_select(manifest: Manifest) -> None:
    assert [s.scan_id for s in manifest] == ["scan-1", "scan-2", "scan-3"]
    assert [s.scan_id for s in manifest.fold("control")] == ["scan-3"]
    assert manifest.subjects == ("sub-0", "sub-1")


def test_the_root_depends_on_voxels_and_attributes_but_not_on_files(manifest: Manifest) -> None:
    first, *others = manifest
    moved = manifest.keep([replace(first, path="elsewhere.nii", flags=("x",)), *others])
    assert moved.root == manifest.root
    older = manifest.keep([replace(first, attributes={"age": 99.0, "sex": None}), *others])
    other = manifest.keep([replace(first, digest="00" * 32), *others])
    assert len({older.root, other.root, manifest.root}) == 3


def test_volumes_come_back_in_the_order_asked(tmp_path: Path, manifest: Manifest) -> None:
    arrays = load_arrays(tmp_path, reversed(manifest.scans))
    assert arrays[:, 0, 0, 0].tolist() == [3, 2, 1]
    np.testing.assert_array_equal(load_scan(tmp_path, manifest.scans[0]).array, 1)


def test_scan_ids_are_unique_and_folds_are_known(manifest: Manifest) -> None:
    with pytest.raises(ValueError, match="unique"):
        manifest.keep([*manifest, manifest.scans[0]])
    with pytest.raises(ValueError, match="fold must be"):
        replace(manifest.scans[0], fold="holdout")
