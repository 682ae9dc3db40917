"""Flows around the generator's scans: draw a cohort; measure what the judge accepted."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from prefect import flow, task
from prefect.artifacts import create_image_artifact

from flows.facts import Outcome, cohort_facts, evaluation_facts
from flows.job import Job
from flows.session import TASK, Session, Stage, open_session
from flows.workers import open_workers
from medsynth.checkpoint import load_generator
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.pictures import image_grid, inlined
from medsynth.core.stage import Artifact, open_stage
from medsynth.evaluate.evaluate import evaluate
from medsynth.prepare.mask_folder import read_mask_folder
from medsynth.sample.cohort import sample
from medsynth.sample.given import NOTHING, Given, read_texts
from medsynth.sample.plan import Plan
from medsynth.sample.views import draw_views
from privacy.policy import read_policy

_NUM_PICTURED, _COLUMNS = 32, 8


@task(name="sample", **TASK)
def sample_cohort(
    session: Session, checkpoint: Artifact, plan: Plan, indices: Sequence[int] = ()
) -> Artifact:
    """Stage cohort/, or excerpt/ of some indices: synthetic scans that nobody has screened yet."""
    k_min = read_policy(session.config.policy).k_min
    with session.stage("cohort") as stage, open_workers(session.config.workers) as workers:
        artifact = sample(
            checkpoint,
            session.out,
            plan,
            indices=indices,
            k_min=k_min,
            given=_given(session, checkpoint),
            workers=workers,
            progress=stage.progress,
        )
        return stage.finish(artifact, cohort_facts(artifact))


def _given(session: Session, checkpoint: Artifact) -> Given:
    """The masks that the operator gives, on the generator's grid, and the texts."""
    folder, table = session.job.masks, session.job.texts
    if folder is None and table is None:
        return NOTHING
    generator = load_generator(checkpoint.path)
    schema = generator.schema
    return Given(
        read_mask_folder(folder, schema, generator.geometry) if folder else {},
        read_texts(table, schema) if table else {},
    )


@task(name="views", **TASK)
def draw_to_compare(session: Session, checkpoint: Artifact) -> Artifact:
    """Stage views/: scans made to be compared, which nobody has screened yet."""
    config, k_min = session.config, read_policy(session.config.policy).k_min
    with session.stage("views") as stage:
        artifact = draw_views(
            checkpoint,
            session.out,
            config.sample,
            config.views,
            k_min=k_min,
            progress=stage.progress,
        )
        return stage.finish(artifact, cohort_facts(artifact))


@task(name="evaluate", **TASK)
def evaluate_cohort(
    session: Session,
    accepted: Artifact,
    prepared: Artifact,
    cohort: Artifact | None = None,
    checkpoint: Artifact | None = None,
    shown: Artifact | None = None,
) -> Artifact:
    """Stage evaluation/: quality of the accepted scans, each number beside its floor.

    `cohort` is what they were accepted from, and says what was asked for; `checkpoint` drew them,
    and what it draws where one attribute changes is `shown`.
    """
    config = session.config
    with session.stage("evaluation") as stage:
        artifact = evaluate(
            accepted,
            prepared,
            session.out,
            config.evaluate,
            cohort=cohort,
            checkpoint=checkpoint,
            shown=shown,
            seed=config.seed,
            progress=stage.progress,
        )
        return stage.finish(artifact, evaluation_facts(artifact))


def picture(stage: Stage, accepted: Artifact) -> None:
    """A grid of accepted scans, in Prefect and in MLflow."""
    grid = picture_grid(accepted)
    if grid is not None:
        stage.run.log_picture(grid, "accepted.png")
        create_image_artifact(
            inlined(grid), key="medsynth-pictures", description="Accepted synthetic scans"
        )


def picture_grid(accepted: Artifact) -> Image.Image | None:
    """The first accepted scans as one picture; none where nothing was accepted."""
    scans = Manifest.read(accepted.path).scans[:_NUM_PICTURED]
    return image_grid(load_arrays(accepted.path, scans), _COLUMNS) if scans else None


@flow(name="medsynth-sample", persist_result=False)
def sample_flow(job: Job, checkpoint: Path, plan: Plan, indices: tuple[int, ...] = ()) -> Outcome:
    """Draw a cohort from a checkpoint folder, or the scans at some of its indices."""
    with open_session(job, needs_keys=False) as session:
        sample_cohort(session, open_stage(checkpoint), plan, indices)
        return session.outcome()


@flow(name="medsynth-evaluate", persist_result=False)
def evaluate_flow(
    job: Job,
    accepted: Path,
    prepared: Path,
    cohort: Path | None = None,
    checkpoint: Path | None = None,
    shown: Path | None = None,
) -> Outcome:
    """Measure an accepted cohort beside real scans and what was asked for.

    The autoencoder of a checkpoint is measured by itself, and the effects of attributes are read
    off the views that the judge has shown.
    """
    with open_session(job, needs_keys=False) as session:
        kept = open_stage(accepted)
        drawn = open_stage(cohort) if cohort else None
        if drawn is not None and kept.receipt["parents"].get("cohort") != drawn.digest:
            drawn = None
        generator = open_stage(checkpoint) if checkpoint else None
        views = open_stage(shown) if shown else None
        evaluate_cohort(session, kept, open_stage(prepared), drawn, generator, views)
        return session.outcome()
