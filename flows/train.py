"""Flow of training: from prepared folds to a checkpoint, a registered candidate."""

import sys
from collections import defaultdict
from pathlib import Path
from time import time

from mlflow.entities import Metric
from prefect import flow, get_run_logger, task

from flows.ending import end_soon
from flows.facts import Outcome
from flows.job import Job
from flows.registry import register
from flows.session import TASK, Session, Stage, open_session
from medsynth.checkpoint import load_generator
from medsynth.core.stage import Artifact, open_stage
from medsynth.train.dp_config import DpConfig
from medsynth.train.dp_statement import read_statement
from medsynth.train.interrupt import Interrupted
from medsynth.train.report import StepReport
from medsynth.train.train import train

_REPORTS_PER_CALL = 40


class StepLog:
    """Step reports on their way to MLflow, in batches, each stage's to its own run."""

    def __init__(
        self, session: Session, stages: dict[str, Stage], num_steps: dict[str, int]
    ) -> None:
        self._session = session
        self._stages = stages
        self._num_steps = num_steps
        self._waiting: dict[str, list[Metric]] = defaultdict(list)

    def __call__(self, report: StepReport) -> None:
        """Take one report and show how far both networks are."""
        self._say(report)
        if not report.metrics:
            return
        now = int(time() * 1000)
        numbers = {**report.metrics, "seconds": report.seconds}
        metrics = [Metric(name, float(x), now, report.step) for name, x in numbers.items()]
        waiting = self._waiting[report.stage]
        waiting.extend(metrics)
        if len(waiting) >= _REPORTS_PER_CALL * len(metrics):
            self.flush(report.stage)
        before = self._num_steps["latents"] if report.stage == "checkpoint" else 0
        self._stages["checkpoint"].progress(before + report.step, sum(self._num_steps.values()))

    def _say(self, report: StepReport) -> None:
        """To whoever watches; warnings also to the report."""
        self._session.warnings.extend(report.warnings)
        for sentence in (*report.warnings, *report.notes):
            print(sentence, file=sys.stderr, flush=True)
            get_run_logger().info("%s", sentence)

    def flush(self, stage: str) -> None:
        """Send what waits."""
        self._stages[stage].run.log_metrics(self._waiting.pop(stage, []))


@task(name="train", **TASK)
def train_generator(
    session: Session,
    prepared: Artifact,
    public_autoencoder: Artifact | None = None,
    is_private: bool = False,
) -> Artifact:
    """Stages latents/ and checkpoint/, and a registered candidate; a killed training goes on."""
    config = session.config.train
    if is_private and config.dp is None:
        config = config.model_copy(update={"dp": DpConfig()})
    num_steps = {
        "latents": 0 if public_autoencoder else config.autoencoder_steps,
        "checkpoint": config.denoiser_steps,
    }
    with session.stage("latents", shown=False) as first, session.stage("checkpoint") as second:
        log = StepLog(session, {"latents": first, "checkpoint": second}, num_steps)
        try:
            latents, checkpoint = train(
                prepared,
                session.out,
                config,
                seed=session.config.seed,
                public_autoencoder=public_autoencoder,
                on_step=log,
            )
        except Interrupted as error:
            end_soon(error)
            raise
        for stage, artifact in ((first, latents), (second, checkpoint)):
            log.flush(artifact.path.name)
            stage.finish(artifact, _privacy_facts(artifact.path))
        register_candidate(session, second, checkpoint)
    return checkpoint


def _privacy_facts(folder: Path) -> dict[str, float]:
    """Epsilon and delta, where the training promised any."""
    statement = read_statement(folder) or {}
    return {name: statement[name] for name in ("epsilon", "delta") if name in statement}


def register_candidate(session: Session, stage: Stage, checkpoint: Artifact) -> None:
    """The generator in the model registry, as the newest candidate."""
    plan = session.config.sample
    defaults = {"seed": plan.seed, "num_steps": plan.num_steps, "guidance": plan.guidance}
    schema = load_generator(checkpoint.path).schema
    register(stage.run, session.config.name, checkpoint, schema, defaults)


@flow(name="medsynth-train", persist_result=False)
def train_flow(
    job: Job, prepared: Path, public_autoencoder: Path | None = None, is_private: bool = False
) -> Outcome:
    """Learn a generator from a prepared folder."""
    with open_session(job, needs_keys=False) as session:
        public = open_stage(public_autoencoder) if public_autoencoder else None
        train_generator(session, open_stage(prepared), public, is_private)
        return session.outcome()
