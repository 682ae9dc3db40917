"""Flow of comparison: our model and its rivals, equal folds and equal time, one table."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.comparison_table import markdown_table, mean_over_seeds
from flows.config import RunConfig, parse_config
from flows.facts import Outcome, comparison_facts
from flows.job import Job
from flows.judges import Judges, read_cohort, store_cohort
from flows.session import TASK, Session, open_session
from medsynth.core.errors import UsageProblem
from medsynth.core.pictures import image_grid
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact, Progress, Request, code_digest, open_stage, produce
from medsynth.evaluate.metrics import Metric
from medsynth.models.cells import count_cells
from medsynth.rivals.config import RivalsConfig
from medsynth.rivals.contestant import Entry
from medsynth.rivals.field import NAMES, TRAINED, field
from medsynth.rivals.pace import clock
from medsynth.sample.requests import resolve
from medsynth.train.fold import TrainingFold, read_training_fold
from medsynth.train.report import StepReport
from privacy.policy import Policy, read_policy

STAGE = "comparison"
COMPARISON, TABLE = "comparison.json", "table.md"
_NUM_PICTURED, _COLUMNS = 32, 8
_COST = "cost.json"

ByModel = dict[str, dict[str, Metric]]


@dataclass(frozen=True)
class Terms:
    """What decides a comparison: the run's config, how long and how often, and the policy."""

    config: RunConfig
    rivals: RivalsConfig
    policy: Policy

    def request(self, prepared: Artifact) -> Request:
        """What decides whether the stage is found."""
        rooms = ("train", "sample", "evaluate", "attributes")
        resolved = self.config.resolved()
        config = {name: resolved[name] for name in rooms} | {
            "rivals": self.rivals.model_dump(mode="json"),
            "alpha": self.policy.alpha,
            "k_min": self.policy.k_min,
        }
        parents = {"prepared": prepared.digest}
        return Request(STAGE, parents, config, code_digest("flows.compare"), self.config.seed)


@task(name="compare", **TASK)
def compare_models(session: Session, prepared: Artifact, given: Mapping[str, Any]) -> Artifact:
    """Stage comparison/: every model's scans and pictures, which stay there, and its numbers."""
    config = session.config
    rivals = parse_config(RivalsConfig, {**config.rivals.model_dump(), **given})
    if len(set(rivals.seeds)) != len(rivals.seeds):
        raise UsageProblem("every seed must be named once")
    terms = Terms(config, rivals, read_policy(config.policy))
    with session.stage(STAGE) as stage:
        artifact = produce(
            session.out,
            terms.request(prepared),
            lambda folder: _build(folder, prepared, terms, stage.progress),
        )
        stage.finish(artifact, comparison_facts(artifact))
        stage.run.log_file(artifact.path / TABLE)
    return artifact


def _build(folder: Path, prepared: Artifact, terms: Terms, progress: Progress) -> None:
    fold = read_training_fold(prepared)
    requests = _requests(fold, terms)
    watch = _Watch(terms, progress)
    costs = {
        seed: _draw_all(folder, prepared, fold, terms, seed, requests, watch)
        for seed in terms.rivals.seeds
    }
    judges = Judges.of(prepared, terms.config, terms.policy.alpha)
    found = {
        seed: {
            name: judges.measure(read_cohort(folder / _place(name, seed))) | costs[seed][name]
            for name in NAMES
        }
        for seed in terms.rivals.seeds
    }
    mean = mean_over_seeds([*found.values()])
    _write(folder, {"mean": mean, **{f"seed {seed}": rows for seed, rows in found.items()}})
    (folder / TABLE).write_text(markdown_table(mean))


def _write(folder: Path, parts: Mapping[str, ByModel]) -> None:
    plain = {
        part: {model: {k: asdict(m) for k, m in rows.items()} for model, rows in models.items()}
        for part, models in parts.items()
    }
    (folder / COMPARISON).write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n")


def _requests(fold: TrainingFold, terms: Terms) -> list[Attributes]:
    """The same for every model: the plan's, from cells as large as the policy asks."""
    plan = terms.config.sample
    if isinstance(plan.like, str) and plan.like:
        raise UsageProblem("a comparison draws no table's distribution; leave out [sample] like")
    cells = count_cells(fold.schema, fold.attributes, fold.subjects)
    wanted = resolve(plan, fold.schema, cells, terms.policy.k_min)
    return [wanted[index] for index in range(plan.count)]


@dataclass
class _Watch:
    """Progress over all trainings, in seconds of their clock."""

    terms: Terms
    progress: Progress
    num_done: int = 0
    began: float = dataclass_field(default_factory=clock)

    def __call__(self, report: StepReport) -> None:
        """One more step of a training."""
        self._show(clock() - self.began)

    def done(self) -> None:
        """One more model is trained and has drawn."""
        self.num_done, self.began = self.num_done + 1, clock()
        self._show(0.0)

    def _show(self, spent: float) -> None:
        seconds = 60 * self.terms.rivals.minutes
        total = len(TRAINED) * len(self.terms.rivals.seeds) * seconds
        self.progress(round(self.num_done * seconds + min(spent, seconds)), round(total))


def _draw_all(
    folder: Path,
    prepared: Artifact,
    fold: TrainingFold,
    terms: Terms,
    seed: int,
    requests: Sequence[Attributes],
    watch: _Watch,
) -> ByModel:
    """Train and draw from every model that a killed run has not drawn from; what each cost."""
    at = folder / f"work-{seed}"
    config = terms.config
    contestants = field(
        prepared, fold, terms.rivals, config.train, config.sample, seed=seed, at=at, on_step=watch
    )
    costs = {}
    for name, train in contestants.items():
        place = folder / _place(name, seed)
        if not (place / _COST).exists():
            _draw(place, train(), fold, requests, config.sample.seed)
        if name in TRAINED:
            watch.done()
        costs[name] = {
            k: Metric(float(v)) for k, v in json.loads((place / _COST).read_text()).items()
        }
    shutil.rmtree(at, ignore_errors=True)
    return costs


def _place(name: str, seed: int) -> str:
    return f"draws/{name}-{seed}"


def _draw(
    place: Path, entry: Entry, fold: TrainingFold, requests: Sequence[Attributes], seed: int
) -> None:
    """A model's scans, a picture of the first, and last what it cost."""
    began = clock()
    volumes = entry.contestant.draw(requests, range(len(requests)), seed)
    seconds = (clock() - began) / len(requests)
    store_cohort(place, volumes, requests, fold)
    image_grid(volumes[:_NUM_PICTURED], _COLUMNS).save(place / "picture.png")
    cost = asdict(entry.effort) | {"seconds_per_scan": seconds}
    (place / _COST).write_text(json.dumps(cost) + "\n")


@flow(name="medsynth-compare", persist_result=False)
def compare_flow(job: Job, prepared: Path, given: dict[str, Any]) -> Outcome:
    """Train our model and its rivals for equal time on equal folds, and measure them alike."""
    with open_session(job, needs_keys=False) as session:
        compare_models(session, open_stage(prepared), given)
        return session.outcome()
