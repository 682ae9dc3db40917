"""Those who measure generators side by side: readers and screen, made once, the same for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from flows.config import RunConfig
from flows.memorization import Memory
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.core.stage import Artifact
from medsynth.evaluate.comparison import Fold, compare_folds
from medsynth.evaluate.evaluate import attribute_metrics
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.readers import Readers, train_readers


class Described(Protocol):
    """Something whose scans have one geometry, modality and schema."""

    @property
    def geometry(self) -> Geometry:
        """Where the voxels lie."""

    @property
    def modality(self) -> str:
        """Of every scan."""

    @property
    def schema(self) -> AttributeSchema:
        """What may be asked for."""


def store_cohort(
    place: Path,
    volumes: Float[np.ndarray, "n i j k"],
    requests: Sequence[Attributes],
    like: Described,
) -> None:
    """Drawn scans with what was asked for, as a folder that nobody screened."""
    scans = [
        store_scan(
            place,
            Volume(voxels[None], like.geometry),
            scan_id=f"syn-{index:06d}",
            subject_id=f"syn-{index:06d}",
            modality=like.modality,
            attributes=requests[index],
        )
        for index, voxels in enumerate(volumes)
    ]
    Manifest(tuple(scans), like.schema).write(place)


def read_cohort(place: Path) -> Fold:
    """The scans that `store_cohort` wrote."""
    return Fold.load(place, Manifest.read(place).scans)


@dataclass(frozen=True, eq=False)
class Judges:
    """Readers and screen, made once: every model meets the same."""

    config: RunConfig
    readers: Readers
    train: Fold
    control: Fold
    memory: Memory

    @classmethod
    def of(cls, prepared: Artifact, config: RunConfig, alpha: float) -> "Judges":
        """Readers trained on the real training fold, and a screen calibrated at alpha."""
        real = Manifest.read(prepared.path)
        train, control = (
            Fold.load(prepared.path, real.fold(name).scans) for name in ("train", "control")
        )
        readers = train_readers(
            train.images,
            train.scans,
            real.schema,
            config.evaluate.reader,
            seed=config.seed,
            on_step=lambda step: None,
        )
        return cls(config, readers, train, control, Memory.of(prepared, alpha, config.seed))

    def measure(self, synthetic: Fold) -> dict[str, Metric]:
        """Fidelity, diversity, attribute agreement and memorization of the scans of one model."""
        evaluate = self.config.evaluate
        rng = np.random.default_rng(self.config.seed)
        metrics = compare_folds(
            self.readers, synthetic, self.train, self.control, rng, evaluate.comparison
        )
        metrics |= attribute_metrics(
            self.readers,
            synthetic,
            self.readers.read(synthetic.images),
            self.control,
            rng,
            evaluate.num_draws,
        )
        return metrics | self.memory.measure(synthetic.images)
