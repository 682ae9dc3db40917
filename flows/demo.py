"""The demo: a phantom archive written on the spot, and the pipeline over it."""

from pathlib import Path

from flows.display import show_progress
from flows.job import Job
from medsynth.core.errors import UsageProblem
from medsynth.ingest.phantom_archive import write_phantom_archive

CONFIGS = Path(__file__).parents[1] / "configs"
NUM_SUBJECTS = 500


def demo_job(out: Path, *, small: bool) -> Job:
    """The job of the demo in OUT; everything it needs lies below OUT."""
    config = CONFIGS / ("demo_small.toml" if small else "demo.toml")
    if not config.is_file():
        raise UsageProblem("the demo runs from a checkout, which holds configs/demo.toml")
    archive = phantom_archive(out, 48 if small else 64)
    return Job(
        out=out,
        config=config,
        source=archive / "dicom",
        attributes=archive / "clinical.csv",
        home=out / "home",
        is_demo=True,
    )


def phantom_archive(out: Path, size: int) -> Path:
    """OUT/archive-SIZE, written unless it is there."""
    archive = out / f"archive-{size}"
    if not archive.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_name(f".{archive.name}")
        with show_progress("archive"):
            write_phantom_archive(unfinished, num_subjects=NUM_SUBJECTS, size=size)
        unfinished.rename(archive)
    return archive
