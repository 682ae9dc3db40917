"""Scan and Manifest: what a stage folder holds, a row per scan, frozen and ordered."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from medsynth.core.digest import canonical_json, merkle_root, scan_digest
from medsynth.core.geometry import Geometry, Volume, read_volume, write_volume
from medsynth.core.schema import Attributes, AttributeSchema

FILE_NAME = "manifest.parquet"
_VOLUMES = "volumes"
FOLDS = ("train", "control", "calibration", "test", "reserve")
_SCHEMA_KEY = b"medsynth.schema"


@dataclass(frozen=True)
class Provenance:
    """Where a scan's planes came from; ingest's, kept inside, never exported.

    `plane_sources` names, plane by plane along the RAS+ axis `plane_axis`, the keyed SOP instance
    of each plane (two joined by "+" where it was interpolated between them); `observed` is the
    share of planes that were seen; `acquisition` holds numbers and coded words of the physics.
    """

    plane_sources: tuple[str, ...] = ()
    plane_axis: int | None = None
    observed: float = 1.0
    acquisition: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "acquisition", MappingProxyType(dict(self.acquisition)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _parts(self)


@dataclass(frozen=True)
class Scan:
    """One real or synthetic image: who, where, what is known; the voxels stay in its file.

    `path` is relative to the stage folder, `attributes` hold `None` where a value is missing,
    `measured` (the got.NAME columns) is what an evaluation read back from the voxels.
    """

    scan_id: str
    subject_id: str
    path: str
    digest: str
    modality: str
    shape: tuple[int, ...]
    affine: tuple[float, ...]
    dtype: str
    fold: str | None = None
    flags: tuple[str, ...] = ()
    attributes: Attributes = field(default_factory=dict)
    measured: Attributes = field(default_factory=dict)
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        for name in ("attributes", "measured"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if self.fold is not None and self.fold not in FOLDS:
            raise ValueError(f"fold must be one of {', '.join(FOLDS)}, got {self.fold!r}")
        if len(self.affine) != 16:
            raise ValueError(f"affine must have 16 numbers, got {len(self.affine)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _parts(self)

    @property
    def geometry(self) -> Geometry:
        """Spatial shape and affine."""
        i, j, k = self.shape[:3]
        return Geometry((i, j, k), np.array(self.affine).reshape(4, 4))


def _parts(noun: Any) -> tuple[Any, ...]:
    """How to build the noun again, for pickle, to which a frozen mapping is a stranger."""
    values = [getattr(noun, each.name) for each in fields(noun)]
    return type(noun), tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)


@dataclass(frozen=True)
class Manifest:
    """An ordered, frozen table of scans (by scan_id) with their schema."""

    scans: tuple[Scan, ...]
    schema: AttributeSchema = field(default_factory=AttributeSchema)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scans", tuple(sorted(self.scans, key=lambda s: s.scan_id)))
        if len({scan.scan_id for scan in self.scans}) != len(self.scans):
            raise ValueError("scan ids must be unique")

    def __iter__(self) -> Iterator[Scan]:
        return iter(self.scans)

    def __len__(self) -> int:
        return len(self.scans)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject ids, sorted."""
        return tuple(sorted({scan.subject_id for scan in self.scans}))

    @property
    def root(self) -> str:
        """Merkle root over scans and attributes: the cohort's digest."""
        leaves = [
            bytes.fromhex(scan.digest)
            + canonical_json({name: scan.attributes.get(name) for name in self.schema.names})
            for scan in self.scans
        ]
        return merkle_root(leaves)

    def fold(self, *names: str) -> "Manifest":
        """The scans of these folds."""
        return self.keep(scan for scan in self.scans if scan.fold in names)

    def keep(self, scans: Iterable[Scan]) -> "Manifest":
        """A manifest of other scans under the same schema."""
        return replace(self, scans=tuple(scans))

    def write(self, folder: Path) -> None:
        """Write manifest.parquet into a stage folder."""
        columns = _columns(self.scans, self.schema)
        table = pa.table(columns).replace_schema_metadata({_SCHEMA_KEY: self.schema.to_json()})
        pq.write_table(table, folder / FILE_NAME)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a stage folder."""
        table = pq.read_table(folder / FILE_NAME)
        schema = AttributeSchema.from_json((table.schema.metadata or {})[_SCHEMA_KEY].decode())
        return cls(tuple(_scan(row) for row in table.to_pylist()), schema)


_PLAIN: dict[str, Any] = {
    "scan_id": pa.string(),
    "subject_id": pa.string(),
    "path": pa.string(),
    "digest": pa.string(),
    "modality": pa.string(),
    "shape": pa.list_(pa.int64()),
    "affine": pa.list_(pa.float64()),
    "dtype": pa.string(),
    "fold": pa.string(),
    "flags": pa.list_(pa.string()),
}


def _columns(scans: Sequence[Scan], schema: AttributeSchema) -> dict[str, Any]:
    columns = {
        name: pa.array([getattr(scan, name) for scan in scans], kind)
        for name, kind in _PLAIN.items()
    }
    has_measured = any(scan.measured for scan in scans)
    for attribute in schema:
        kind, name = (pa.float64() if attribute.is_numeric else pa.string()), attribute.name
        columns[f"attr.{name}"] = pa.array([s.attributes.get(name) for s in scans], kind)
        if has_measured:
            columns[f"got.{name}"] = pa.array([s.measured.get(name) for s in scans], kind)
    if any(scan.provenance for scan in scans):
        columns |= _provenance_columns([scan.provenance or Provenance() for scan in scans])
    return columns


def _provenance_columns(found: Sequence[Provenance]) -> dict[str, Any]:
    words = [json.dumps(dict(one.acquisition), sort_keys=True) for one in found]
    return {
        "plane_sources": pa.array([one.plane_sources for one in found], pa.list_(pa.string())),
        "plane_axis": pa.array([one.plane_axis for one in found], pa.int8()),
        "observed": pa.array([one.observed for one in found], pa.float64()),
        "acquisition": pa.array(words, pa.string()),
    }


def _scan(row: dict[str, Any]) -> Scan:
    plain: dict[str, Any] = {
        name: tuple(v) if isinstance(v := row[name], list) else v for name in _PLAIN
    }
    attributes = {k.removeprefix("attr."): v for k, v in row.items() if k.startswith("attr.")}
    measured = {k.removeprefix("got."): v for k, v in row.items() if k.startswith("got.")}
    return Scan(**plain, attributes=attributes, measured=measured, provenance=_provenance(row))


def _provenance(row: dict[str, Any]) -> Provenance | None:
    if "plane_sources" not in row:
        return None
    sources, words = tuple(row["plane_sources"] or ()), json.loads(row["acquisition"])
    return Provenance(sources, row["plane_axis"], row["observed"], words)


def store_scan(
    folder: Path,
    volume: Volume,
    *,
    scan_id: str,
    subject_id: str,
    modality: str,
    attributes: Attributes,
    flags: Sequence[str] = (),
    fold: str | None = None,
    provenance: Provenance | None = None,
) -> Scan:
    """Write a RAS+ volume to volumes/SCAN_ID.nii below a stage folder and return its row."""
    write_volume(volume_path(folder, scan_id), volume)
    return scan_of(
        volume,
        digest=scan_digest(volume.array[0], volume.geometry.affine),
        scan_id=scan_id,
        subject_id=subject_id,
        modality=modality,
        attributes=attributes,
        flags=flags,
        fold=fold,
        provenance=provenance,
    )


def volume_path(folder: Path, scan_id: str) -> Path:
    """Where a stage folder keeps a scan's volume; its folder is made."""
    (folder / _VOLUMES).mkdir(parents=True, exist_ok=True)
    return folder / _VOLUMES / f"{scan_id}.nii"


def scan_of(
    volume: Volume,
    *,
    digest: str,
    scan_id: str,
    subject_id: str,
    modality: str,
    attributes: Attributes,
    flags: Sequence[str] = (),
    fold: str | None = None,
    provenance: Provenance | None = None,
) -> Scan:
    """The row of a volume that lies at its place; `digest` is its scan digest."""
    affine = np.asarray(volume.geometry.affine, np.float32)
    return Scan(
        scan_id=scan_id,
        subject_id=subject_id,
        path=f"{_VOLUMES}/{scan_id}.nii",
        digest=digest,
        modality=modality,
        shape=volume.geometry.spatial_shape,
        affine=tuple(float(x) for x in affine.ravel()),
        dtype=volume.array.dtype.name,
        fold=fold,
        flags=tuple(flags),
        attributes=attributes,
        provenance=provenance,
    )


def load_scan(folder: Path, scan: Scan) -> Volume:
    """The volume of one scan of a stage folder."""
    return read_volume(folder / scan.path)


def load_arrays(folder: Path, scans: Iterable[Scan]) -> Shaped[np.ndarray, "n i j k"]:
    """The voxels of equally shaped one-channel scans, stacked in the order given."""
    return np.stack([load_scan(folder, scan).array[0] for scan in scans])
