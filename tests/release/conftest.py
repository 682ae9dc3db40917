"""An accepted cohort of phantoms, certificates of every kind, and a finished release."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from medsynth.core.certificate import FORMAT, sign_certificate
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.keys import DEMO_KEYS, Keys
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.release.release import release

SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years", 20.0, 95.0),
        Attribute("sex", "category", values=("F", "M")),
        Attribute("finding", "labels", values=("cyst", "lesion")),
    )
)
MakeCertificate = Callable[..., Path]


def make_accepted(
    out: Path, *, modality: str = "MR", shape: tuple[int, int, int] = (7, 9, 5)
) -> Artifact:
    """Six scans on an oblique grid with odd, unequal sides."""
    rng = np.random.default_rng(0)
    tilt = np.deg2rad(12)
    affine = np.diag([1.5, 2.0, 4.0, 1.0])
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = -5.25, 7.5, 11

    def build(folder: Path) -> None:
        scans = [
            store_scan(
                folder,
                Volume(rng.random((1, *shape), np.float32), Geometry(shape, affine)),
                scan_id=f"syn-{i:04d}",
                subject_id=f"syn-{i:04d}",
                modality=modality,
                attributes={
                    "age": None if i == 2 else 88.5 + i,
                    "sex": "FM"[i % 2],
                    "finding": "cyst|lesion" if i == 1 else None,
                },
                flags=("redrawn",),
            )
            for i in range(6)
        ]
        Manifest(tuple(scans), SCHEMA).write(folder)

    return produce(out, Request("accepted", {}, {"modality": modality}, "test"), build)


def make_certificate(
    folder: Path,
    cohort: str,
    *,
    verdict: str = "PASS",
    policy: str = "demo",
    days: int = 30,
    keys: Keys = DEMO_KEYS,
) -> Path:
    now = datetime.now(UTC)
    body = {
        "format": FORMAT,
        "verdict": verdict,
        "scope": "data",
        "policy": {"name": policy, "digest": "ab" * 32},
        "digests": {"cohort": cohort, "model": "cd" * 32},
        "num_synthetic": 6,
        "num_rejected": 0,
        "gates": [
            {"gate": "partition", "kind": "excess", "estimate": 0.01, "low": -0.02, "high": 0.04,
             "n": 84, "limit": 0.05, "side": "below", "result": "PASS", "reason": "no closer"},
            {"gate": "membership", "kind": "", "estimate": None, "low": None, "high": None,
             "n": None, "limit": None, "side": "below", "result": "NOT_RUN", "reason": ""},
        ],
        "issued": (now - timedelta(days=60)).isoformat(),
        "expires": (now + timedelta(days=days)).isoformat(),
        "does_not_show": ["That the model itself may leave."],
    }  # fmt: skip
    path = folder / f"{verdict}-{policy}-{days}-{keys.public_key[:6]}.json"
    sign_certificate(body, keys).write(path)
    return path


@pytest.fixture(scope="session")
def accept() -> Callable[..., Artifact]:
    """Makes an accepted stage below a folder."""
    return make_accepted


@pytest.fixture(scope="session")
def certify() -> MakeCertificate:
    """Makes a certificate file for a cohort's digest."""
    return make_certificate


@pytest.fixture(scope="session")
def other_keys() -> Keys:
    return Keys(b"1" * 32, b"2" * 32, b"3" * 32)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_accepted(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def root(accepted: Artifact) -> str:
    return Manifest.read(accepted.path).root


@pytest.fixture(scope="module")
def certificate(accepted: Artifact, root: str) -> Path:
    return make_certificate(accepted.path.parent, root)


@pytest.fixture(scope="module")
def released(
    accepted: Artifact, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    report = tmp_path_factory.mktemp("report") / "report.html"
    report.write_text("<!doctype html><title>report</title>")
    out = tmp_path_factory.mktemp("out")
    return release(accepted, certificate, out, DEMO_KEYS, report=report)
