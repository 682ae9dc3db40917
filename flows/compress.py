"""Flow of compression: a smaller or faster candidate, measured beside its source, kept or not."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.facts import Outcome, compression_facts, read_compression
from flows.job import Job
from flows.judges import Judges, read_cohort, store_cohort
from flows.session import TASK, Session, open_session
from flows.train import register_candidate
from medsynth.checkpoint import load_generator, read_json, save_generator
from medsynth.compress.candidate import By, Making
from medsynth.compress.cost import Cost, Drawer, race
from medsynth.compress.gates import Tried, try_candidate
from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact, Progress, Request, code_digest, open_stage, produce
from medsynth.evaluate.metrics import Metric
from medsynth.sample.drawing import fixed_threads, sampler_of
from medsynth.sample.requests import resolve
from medsynth.train.report import StepReport
from privacy.policy import Policy, read_policy

STAGE, FILE = "compression", "compression.json"
CANDIDATE = "candidate"
_ROOMS = ("sample", "evaluate", "compress")


@dataclass(frozen=True, eq=False)
class _Trial:
    """One compression: parents, terms, and where progress is shown."""

    session: Session
    checkpoint: Artifact
    prepared: Artifact
    by: By
    policy: Policy
    progress: Progress

    def request(self) -> Request:
        """What decides whether the stage is found."""
        resolved = self.session.config.resolved()
        config = {name: resolved[name] for name in _ROOMS} | {
            "by": self.by,
            "alpha": self.policy.alpha,
            "k_min": self.policy.k_min,
        }
        parents = {"checkpoint": self.checkpoint.digest, "prepared": self.prepared.digest}
        code = code_digest("flows.compress")
        return Request(STAGE, parents, config, code, self.session.config.seed)

    def build(self, folder: Path) -> None:
        """compression.json, and candidate/ where it is accepted."""
        config = self.session.config
        source = load_generator(self.checkpoint.path)
        drawn = Drawer(source, sampler_of(source, config.sample), self.checkpoint.path)
        making = Making(source, drawn.how, config.compress, self.policy.k_min, config.seed)
        work, place = folder / "work", folder / CANDIDATE
        for fresh in (work, place):
            fresh.mkdir(exist_ok=True)
        made = making.make(self.by, work, self._watch)
        save_generator(place, made, prepared_digest=self.prepared.digest)
        candidate = load_generator(place)
        found = self._measure(
            drawn,
            {n: Drawer(candidate, how, place) for n, how in making.settings(self.by).items()},
            work,
        )
        (folder / FILE).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        shutil.rmtree(work)
        if found["accepted"] is None:
            shutil.rmtree(place)

    def _watch(self, report: StepReport) -> None:
        self.progress(report.step, report.num_steps)

    def _measure(self, source: Drawer, candidates: Mapping[str, Drawer], work: Path) -> Any:
        config = self.session.config
        judges = Judges.of(self.prepared, config, self.policy.alpha)
        wanted = resolve(
            config.sample, source.generator.schema, source.generator.cells, self.policy.k_min
        )
        requests = [wanted[index] for index in range(config.sample.count)]
        with fixed_threads(config.sample.threads):
            before = self._judged(judges, source, requests, work / "source")
            tried, cost = {}, None
            for name, drawer in candidates.items():
                metrics = self._judged(judges, drawer, requests, work / name)
                cost, theirs, speedup = race(
                    source, drawer, requests[: source.generator.batch], config.compress.rounds
                )
                tried[name] = try_candidate(
                    (cost, theirs), speedup, (before, metrics), config.compress.gates
                )
        assert cost is not None
        return _plain(self.by, cost, before, tried)

    def _judged(
        self, judges: Judges, drawer: Drawer, requests: Sequence[Attributes], place: Path
    ) -> dict[str, Metric]:
        """Metrics of the plan's scans; nobody screened these, so they do not stay."""
        volumes = drawer.draw(requests, range(len(requests)), self.session.config.sample.seed)
        store_cohort(place, volumes, requests, drawer.generator)
        return judges.measure(read_cohort(place))


def _plain(
    by: By, cost: Cost, metrics: Mapping[str, Metric], tried: Mapping[str, Tried]
) -> dict[str, Any]:
    """What compression.json holds; `accepted` names the first candidate that holds, or null."""
    accepted = next((name for name, one in tried.items() if one.is_accepted), None)
    return {
        "by": by,
        "accepted": accepted,
        "source": {
            "cost": asdict(cost),
            "metrics": {name: asdict(metric) for name, metric in metrics.items()},
        },
        "candidates": {name: asdict(one) for name, one in tried.items()},
    }


@task(name="compress", **TASK)
def compress_generator(
    session: Session, checkpoint: Artifact, prepared: Artifact, by: By
) -> Artifact | None:
    """Stage compression/, and checkpoint/ where the candidate is accepted."""
    _check_parents(session.out, checkpoint, prepared)
    policy = read_policy(session.config.policy)
    with session.stage(STAGE) as stage:
        trial = _Trial(session, checkpoint, prepared, by, policy, stage.progress)
        tried = produce(session.out, trial.request(), trial.build)
        stage.finish(tried, compression_facts(tried))
    if read_compression(tried.path)["accepted"] is None:
        return None
    with session.stage("checkpoint") as stage:
        made = produce(session.out, _copy_request(tried), lambda folder: _copy(tried, folder))
        stage.finish(made, {})
        register_candidate(session, stage, made)
    return made


def _check_parents(out: Path, checkpoint: Artifact, prepared: Artifact) -> None:
    if (out / "checkpoint").resolve() == checkpoint.path.resolve():
        raise UsageProblem("OUT holds the source itself; name another OUT for what comes of it")
    learned_from = read_json(checkpoint.path / "generator.json")["prepared_digest"]
    if learned_from != prepared.digest:
        raise UsageProblem("--prepared must be the folds that this generator learned from")


def _copy_request(tried: Artifact) -> Request:
    return Request("checkpoint", {STAGE: tried.digest}, {}, code_digest("flows.compress"))


def _copy(tried: Artifact, folder: Path) -> None:
    shutil.copytree(tried.path / CANDIDATE, folder, dirs_exist_ok=True)
    shutil.copy(tried.path / FILE, folder)


@flow(name="medsynth-compress", persist_result=False)
def compress_flow(job: Job, checkpoint: Path, prepared: Path, by: By) -> Outcome:
    """Make a candidate for a generator's place and keep it only where nothing is worse."""
    with open_session(job, needs_keys=False) as session:
        compress_generator(session, open_stage(checkpoint), open_stage(prepared), by)
        return session.outcome()
