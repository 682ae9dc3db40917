"""A teacher with random weights, and requests."""

import pytest

from medsynth.core.schema import Attribute, AttributeSchema

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))
ROWS = [{"age": 40.0 + n % 40, "sex": "FM"[n % 2]} for n in range(120)]


@pytest.fixture(scope="session")
def requests():
    return ROWS[10:50]


@pytest.fixture(scope="session")
def teacher(random_generator):
    return random_generator(SCHEMA, ROWS, channels=(16, 32))
