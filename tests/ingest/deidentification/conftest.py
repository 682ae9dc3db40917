"""Archives that only these tests need."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def archive(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`archive(cohort)`: forty patients of a real cohort as DICOM by make_archive.py, once."""
    made: dict[str, Path] = {}

    def write(cohort: str) -> Path:
        if cohort not in made:
            made[cohort] = tmp_path_factory.mktemp("archive") / cohort
            tool = str(shared / "tools/make_archive.py")
            folders = str(shared / "data/cohort2d" / cohort), str(made[cohort])
            command = [sys.executable, tool, *folders, "--patients", "40"]
            subprocess.run(command, check=True, capture_output=True)
        return made[cohort]

    return write
