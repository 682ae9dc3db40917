"""A checkpoint stage with random weights: sampling does not care what was learned."""

import pytest

from medsynth.checkpoint import save_generator
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))


@pytest.fixture
def rows() -> list[dict[str, float | str | None]]:
    """Forty ages, two sexes, a third without a sex, and one of a rare third value."""
    sexes = ["F", "M", None]
    rows = [{"age": 40.0 + i % 40, "sex": sexes[i % 3]} for i in range(240)]
    return [*rows, {"age": 50.0, "sex": "X"}]


@pytest.fixture
def checkpoint(tmp_path, rows, random_generator) -> Artifact:
    generator = random_generator(SCHEMA, rows)
    return produce(
        tmp_path / "trained",
        Request("checkpoint", {}, {}, "test"),
        lambda folder: save_generator(folder, generator, prepared_digest="0" * 64),
    )
