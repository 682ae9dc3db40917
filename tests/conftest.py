"""Fixtures for every room."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared with its real scans is absent")
    return SHARED
