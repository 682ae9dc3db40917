"""The evaluation stage: attribute agreement, fidelity, diversity and coverage of a cohort.

Readers learn on the real training fold and are tried on the real control fold, which is only
read: nothing is ever chosen by it. With the checkpoint that drew the cohort, real scans
that went through its autoencoder are measured like synthetic ones: the best that it can do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict

from medsynth.checkpoint import load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest
from medsynth.core.masks import Mask, load_masks
from medsynth.core.protocols import RoundTrip
from medsynth.core.schema import AttributeSchema
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.evaluate.achieved import achieve, write_achieved
from medsynth.evaluate.agreement import Reading, agreement_metrics, beats_chance
from medsynth.evaluate.comparison import ComparisonConfig, Fold, compare_folds
from medsynth.evaluate.effects import Effect, measure_effects, write_effects
from medsynth.evaluate.mask_agreement import measure_masks
from medsynth.evaluate.metrics import Metric, write_metrics
from medsynth.evaluate.obedience import obedience
from medsynth.evaluate.readers import ReaderConfig, Readers, train_readers
from medsynth.evaluate.segmenter import SegmenterConfig
from medsynth.evaluate.targets import Target
from medsynth.sample.asked import read_asked

_EFFECTS = 1  # their own stream of random numbers, so that views change no metric
Outputs = dict[str, Float[np.ndarray, "n width"]]


class EvaluateConfig(BaseModel):
    """What is measured, and how finely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: ReaderConfig = ReaderConfig()
    """The readers' training."""
    segmenter: SegmenterConfig = SegmenterConfig()
    """The training of the readers of masks."""
    comparison: ComparisonConfig = ComparisonConfig()
    """Comparison with real held-out scans."""
    num_draws: int = 200
    """Bootstrap resamples behind the interval of each attribute's score."""
    min_agreement: float = 0.5
    """An attribute whose agreement lies surely below it is reported as not obeyed."""


DEFAULTS = EvaluateConfig()


def evaluate(
    accepted: Artifact,
    prepared: Artifact,
    out: Path,
    config: EvaluateConfig = DEFAULTS,
    *,
    cohort: Artifact | None = None,
    checkpoint: Artifact | None = None,
    shown: Artifact | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Artifact:
    """The stage OUT/evaluation: the accepted scans with what was read off them, metrics.json.

    Where the `cohort` is given that they were accepted from, asked.json says what was asked for
    beside what was drawn, accepted and read back; the autoencoder of a `checkpoint` is measured by
    itself. effects.json says what each attribute changes in the views that are `shown`.
    """
    if shown and shown.stage != "shown":
        raise UsageProblem(f"views must have passed the screen, stage shown/, got {shown.stage}/")
    parents = {
        "accepted": accepted,
        "prepared": prepared,
        "cohort": cohort,
        "checkpoint": checkpoint,
        "shown": shown,
    }
    request = Request(
        stage="evaluation",
        parents={name: parent.digest for name, parent in parents.items() if parent},
        config=config.model_dump(mode="json"),
        code=code_digest("medsynth.evaluate"),
        seed=seed,
    )

    def build(folder: Path) -> None:
        given, total = _Given.load(prepared, accepted), config.reader.num_steps + 1
        readers = given.train_readers(config, seed, lambda step: progress(step, total))
        outputs = readers.read(given.folds["synthetic"].images)
        round_trip = load_generator(checkpoint.path).round_trip if checkpoint else None
        write_metrics(folder, _measure(given, readers, outputs, config, seed, round_trip))
        measured = _measured(given.kept, readers, outputs)
        measured.write(folder)
        asked = () if cohort is None else read_asked(cohort.path)
        write_achieved(folder, [achieve(row, measured) for row in asked])
        if shown:
            write_effects(folder, _effects(shown, readers, given, config, seed))
        progress(total, total)

    return produce(out, request, build)


@dataclass(frozen=True, eq=False)
class _Given:
    """What is measured: folds synthetic, train and control of one shape, and their masks."""

    schema: AttributeSchema
    kept: Manifest
    folds: Mapping[str, Fold]
    masks: Mapping[str, Mask]

    @classmethod
    def load(cls, prepared: Artifact, accepted: Artifact) -> "_Given":
        """Raises ValueError where the scans differ in shape."""
        real, kept = Manifest.read(prepared.path), Manifest.read(accepted.path)
        folds = {n: Fold.load(prepared.path, real.fold(n).scans) for n in ("train", "control")}
        folds["synthetic"] = Fold.load(accepted.path, kept.scans)
        shapes = {fold.images.shape[1:] for fold in folds.values() if fold.scans}
        if len(shapes) > 1:
            raise ValueError(
                f"synthetic and prepared scans must have one shape, got {sorted(shapes)}"
            )
        return cls(real.schema, kept, folds, _masks((prepared, real), (accepted, kept)))

    def train_readers(
        self, config: EvaluateConfig, seed: int, on_step: Callable[[int], None]
    ) -> Readers:
        """Readers of the training fold."""
        train, how = self.folds["train"], config.reader
        return train_readers(
            train.images, train.scans, self.schema, how, seed=seed, on_step=on_step
        )


def _masks(*stages: tuple[Artifact, Manifest]) -> Mapping[str, Mask]:
    """Every mask that these stages name."""
    found: dict[str, Mask] = {}
    for stage, manifest in stages:
        found |= load_masks(stage.path, manifest.schema, (scan.attributes for scan in manifest))
    return found


def _measure(
    given: _Given,
    readers: Readers,
    outputs: Outputs,
    config: EvaluateConfig,
    seed: int,
    round_trip: RoundTrip | None,
) -> dict[str, Metric]:
    """Every metric; all draw from one stream of random numbers, in this order."""
    rng = np.random.default_rng(seed)
    synthetic, train, control = (given.folds[n] for n in ("synthetic", "train", "control"))
    metrics = attribute_metrics(readers, synthetic, outputs, control, rng, config.num_draws)
    metrics |= measure_masks(
        given.schema.attributes,
        given.folds,
        given.masks,
        config.segmenter,
        rng,
        seed=seed,
        num_draws=config.num_draws,
        min_known=config.reader.min_known,
    )
    metrics |= obedience(metrics, config.min_agreement)
    return metrics | compare_folds(
        readers, synthetic, train, control, rng, config.comparison, round_trip
    )


def _effects(
    shown: Artifact, readers: Readers, given: _Given, config: EvaluateConfig, seed: int
) -> list[Effect]:
    """What each attribute changes, in every attribute that can be read off real scans."""
    control, rng = given.folds["control"], np.random.default_rng([seed, _EFFECTS])
    outputs = readers.read(control.images)
    readable = [
        target.name
        for target in readers.targets
        if beats_chance(target, _reading(target, control, outputs), rng, num_draws=config.num_draws)
    ]
    return measure_effects(shown.path, readers, readable, rng)


def attribute_metrics(
    readers: Readers,
    synthetic: Fold,
    outputs: Outputs,
    control: Fold,
    rng: np.random.Generator,
    num_draws: int,
) -> dict[str, Metric]:
    """Scores and agreement of every attribute that has a reader."""
    metrics: dict[str, Metric] = {}
    control_outputs = readers.read(control.images)
    for target in readers.targets:
        asked = _reading(target, synthetic, outputs)
        real = _reading(target, control, control_outputs)
        metrics |= agreement_metrics(target, asked, real, rng, num_draws=num_draws)
    return metrics


def _reading(target: Target, fold: Fold, outputs: Outputs) -> Reading:
    truth = target.encode([scan.attributes.get(target.name) for scan in fold.scans])
    return Reading.of_known(truth, outputs[target.name], [scan.subject_id for scan in fold.scans])


def _measured(kept: Manifest, readers: Readers, outputs: Outputs) -> Manifest:
    """The accepted scans with what was read off them."""
    values = {target.name: target.decode(outputs[target.name]) for target in readers.targets}
    rows = [{name: values[name][row] for name in values} for row in range(len(kept))]
    return kept.keep(replace(scan, measured=m) for scan, m in zip(kept, rows, strict=True))
