"""Views of a generator in MLflow: only what the judge has let through."""

from flows.facts import cohort_facts
from flows.session import Session
from flows.tracking import Run
from medsynth.core.pictures import image_grid
from medsynth.core.stage import Artifact
from medsynth.release.shown import Shown, Sweep
from medsynth.release.wording import attribute_words


def picture_views(session: Session, shown: Artifact) -> None:
    """Record the stage shown/, and its sweeps, difference maps and traces as pictures."""
    with session.stage("shown", shown=False) as stage:
        stage.finish(shown, cohort_facts(shown))
        found = Shown.read(shown.path)
        for sweep in found.sweeps:
            _log_sweep(stage.run, sweep)
        for number, states in enumerate(found.traces):
            stage.run.log_picture(image_grid(states, len(states)), f"trace-{number}.png")


def _log_sweep(run: Run, sweep: Sweep) -> None:
    rows = sweep.volumes.swapaxes(0, 1)
    words = [attribute_words(sweep.name, value) for value in sweep.values for _ in rows[0]]
    grid = image_grid(rows.reshape(-1, *rows.shape[2:]), rows.shape[1], labels=words)
    run.log_picture(grid, f"{sweep.name}.png")
    if sweep.difference is not None:
        for name, picture in sweep.difference.pictures().items():
            run.log_picture(picture, f"{sweep.name}-{name}.png")
