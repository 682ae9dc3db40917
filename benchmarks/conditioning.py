"""How well a small generator obeys its mask: asked, read back, beside real scans and chance.

    python benchmarks/conditioning.py phantoms OUT
    python benchmarks/conditioning.py hippocampus OUT

Phantoms (2D, 48 x 48) have a bright spot painted in by a known mask; spots asked for are fresh
ones, nobody's. Hippocampi (3D) are asked for with the masks of the control fold, whom training
never saw: real people's, for measuring alone, nothing of it is released.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medsynth.checkpoint import load_generator
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.masks import load_masks, store_mask
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.evaluate.comparison import Fold
from medsynth.evaluate.mask_agreement import known_masks, measure_masks
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.obedience import disobedience_words, obedience
from medsynth.evaluate.segmenter import SegmenterConfig
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.phantom import draw_person, draw_phantom
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.prepare import prepare
from medsynth.sample.cohort import sample
from medsynth.sample.given import Given
from medsynth.sample.plan import Plan
from medsynth.train.config import TrainConfig
from medsynth.train.train import train

SIDE, COUNT = 48, 200
SPOT = AttributeSchema((Attribute("spot", "mask", values=("1",)),))
HIPPOCAMPI = Path(__file__).parents[2] / "shared/data/cohort3d/hippocampus"
SMALL_2D = TrainConfig(autoencoder_steps=600, denoiser_steps=900)
SMALL_3D = TrainConfig(
    autoencoder_channels=(32, 64),
    autoencoder_batch=2,
    autoencoder_steps=300,
    denoiser_channels=(32, 64),
    denoiser_batch=8,
    denoiser_steps=300,
    largest_shift=1,
)


def draw_spot(rng: np.random.Generator) -> np.ndarray:
    """An ellipse somewhere in the middle of the head."""
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.42)
    height, width = rng.uniform(0.1, 0.24, 2)
    off = (x - distance * np.cos(angle)) / width, (y - distance * np.sin(angle)) / height
    return (np.hypot(*off) < 1).astype(np.uint8)[..., None]


def phantom_with(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A phantom whose voxels shine where the mask is."""
    person = draw_person(rng)
    plane = draw_phantom(rng, age=float(person.age), sex=person.sex, lesion=False, size=SIDE)
    noise = 0.02 * rng.standard_normal(mask.shape)
    return np.where(mask, np.clip(0.97 + noise, 0, 1), plane[..., None]).astype(np.float32)


def read_spot(images: np.ndarray) -> np.ndarray:
    """Bright voxels inside the brain; the skull, which is bright, too, lies outside."""
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    inside = np.hypot(axis[:, None] / 0.86, axis[None] / 0.66) < 0.8
    return (images > 0.82) & inside[None, ..., None]


def prepared_phantoms(out: Path) -> Artifact:
    """Folds of phantoms with masks; every eighth has none recorded."""

    def build(folder: Path) -> None:
        geometry = Geometry((SIDE, SIDE, 1), np.diag([4.0, 4.0, 5.0, 1.0]))
        scans = []
        for number in range(420):
            rng = np.random.default_rng([7, number])
            mask = draw_spot(rng)
            voxels = phantom_with(rng, mask)
            known = store_mask(folder, Volume(mask[None], geometry)) if number % 8 else None
            scans.append(
                store_scan(
                    folder,
                    Volume(voxels[None], geometry),
                    scan_id=f"s{number:03d}",
                    subject_id=f"p{number:03d}",
                    modality="MR",
                    attributes={"spot": known},
                    fold="train" if number < 320 else "control",
                )
            )
        Manifest(tuple(scans), SPOT).write(folder)

    return produce(out, Request("prepared", {}, {}, "benchmark"), build)


def prepared_hippocampi(out: Path) -> Artifact:
    """Real hippocampi with both of their labels, on a small grid."""
    source = AttributeSource(kind="mask", source="mask:label#1,2")
    config = IngestConfig(modality="MR", subject="subject_id", attributes={"part": source})
    manifest = ingest(HIPPOCAMPI, out, DEMO_KEYS, config)
    grid = PrepareConfig(shape=(32, 48, 32), spacing=(1.2, 1.2, 1.2))
    return prepare(manifest, out, DEMO_KEYS, out / "ledger.json", grid, name="benchmark")


def loaded(stage: Artifact, *folds: str) -> tuple[Fold, dict[str, np.ndarray]]:
    """Scans of a stage with their voxels and masks."""
    manifest = Manifest.read(stage.path)
    scans = (manifest.fold(*folds) if folds else manifest).scans
    rows = [scan.attributes for scan in scans]
    return Fold.load(stage.path, scans), dict(load_masks(stage.path, manifest.schema, rows))


def dice(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Per scan, of two stacks of flags."""
    axes = (1, 2, 3)
    return 2 * (one & other).sum(axes) / np.maximum(1, one.sum(axes) + other.sum(axes))


def main(kind: str, out: Path) -> None:
    """Prepare, train, sample, measure; prints one JSON object."""
    out.mkdir(parents=True, exist_ok=True)
    began, is_2d = time.monotonic(), kind == "phantoms"
    prepared = prepared_phantoms(out) if is_2d else prepared_hippocampi(out)
    _, checkpoint = train(prepared, out, SMALL_2D if is_2d else SMALL_3D, seed=0)
    trained_s = time.monotonic() - began
    generator = load_generator(checkpoint.path)
    [attribute] = generator.schema
    (real, real_masks), (control, control_masks) = (
        loaded(prepared, "train"),
        loaded(prepared, "control"),
    )
    if is_2d:
        rng = np.random.default_rng(99)
        given = tuple(draw_spot(rng) for _ in range(COUNT))
    else:
        given = tuple(known_masks(control, attribute, control_masks)[1])
    found: dict[str, object] = {"train_s": round(trained_s), "num_train": len(real.scans)}
    for weight in (1.0, 2.0):
        plan = Plan(count=len(given), guidance=weight, seed=3)
        cohort = sample(
            checkpoint, out / f"w{weight:g}", plan, k_min=1, given=Given({attribute.name: given})
        )
        synthetic, masks = loaded(cohort)
        folds = {"synthetic": synthetic, "train": real, "control": control}
        metrics: dict[str, Metric] = measure_masks(
            [attribute],
            folds,
            {**masks, **real_masks, **control_masks},
            SegmenterConfig(),
            np.random.default_rng(0),
            seed=0,
            num_draws=200,
            min_known=20,
        )
        metrics |= obedience(metrics, 0.5)
        row: dict[str, object] = {name: asdict(metric) for name, metric in metrics.items()}
        row["not_obeyed"] = disobedience_words(metrics)
        if is_2d:
            scans, asked = known_masks(synthetic, attribute, masks)
            own, truth = known_masks(control, attribute, control_masks)
            row["threshold_dice"] = float(dice(read_spot(scans.images), asked > 0).mean())
            shuffled = np.roll(asked, 1, axis=0) > 0
            row["threshold_dice_by_chance"] = float(dice(read_spot(scans.images), shuffled).mean())
            row["threshold_dice_real"] = float(dice(read_spot(own.images), truth > 0).mean())
        found[f"guidance {weight:g}"] = row
    found["seconds"] = round(time.monotonic() - began)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
