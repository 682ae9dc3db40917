"""The audit of somebody else's cohort: plain folders of pictures with a metadata.csv."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore")
SIDE = 24


def _write(folder: Path, images: dict[str, np.ndarray], side: int = SIDE) -> Path:
    (folder / "images").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient_id", "age"])
        for number, (name, image) in enumerate(images.items()):
            picture = Image.fromarray((image * 255).astype(np.uint8)).resize((side, side))
            picture.save(folder / "images" / f"{name}.png")
            table.writerow([f"images/{name}.png", name, 40 + number % 30])
    return folder


def _blobs(rng: np.random.Generator, name: str, count: int) -> dict[str, np.ndarray]:
    grid = np.linspace(-1, 1, SIDE)
    centers = rng.uniform(-0.7, 0.7, (count, 4, 2))
    return {
        f"{name}{n}": np.clip(
            sum(np.exp(-8 * ((grid - x) ** 2 + (grid[:, None] - y) ** 2)) for x, y in blobs), 0, 1
        )
        for n, blobs in enumerate(centers)
    }


def test_plain_folders_are_read_onto_the_cohorts_grid_and_judged(
    server: str, home: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    from flows.audit import audit_flow
    from flows.job import Job
    from medsynth.core.manifest import Manifest

    train = _blobs(rng, "t", 20)
    cohort = _write(tmp_path / "cohort", {f"c{name}": image for name, image in train.items()})
    roots = {
        "train": _write(tmp_path / "train", train, side=2 * SIDE),
        "control": _write(tmp_path / "control", _blobs(rng, "k", 12), side=2 * SIDE),
        "calibration": _write(tmp_path / "calibration", _blobs(rng, "l", 12)),
    }
    done: Any = audit_flow(Job(out=tmp_path / "out", policy="pilot"), cohort, roots)
    assert done.verdict in ("FAIL", "INCONCLUSIVE")
    assert [artifact.path.name for artifact in done.stages] == ["accepted", "evidence"]
    read = Manifest.read(tmp_path / "out" / "plain" / "train" / "conformed")
    assert {scan.shape for scan in read} == {(SIDE, SIDE, 1)}


def test_an_audit_without_its_folds_names_what_is_missing(
    server: str, home: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    from flows.audit import audit_flow
    from flows.job import Job
    from medsynth.core.errors import UsageProblem

    cohort = _write(tmp_path / "cohort", _blobs(rng, "c", 4))
    with pytest.raises(UsageProblem, match="--control, --calibration"):
        audit_flow(Job(out=tmp_path / "out", policy="pilot"), cohort, {"train": cohort})
