"""Configs: strict, and every shipped one loads."""

from pathlib import Path

import pytest

from flows.config import RunConfig, read_config
from medsynth.core.errors import UsageProblem

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_loads_and_names_itself(path: Path) -> None:
    config = read_config(path)
    assert config.name.replace("-", "_") == path.stem
    assert config.ingest.attributes == config.attributes


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[train]\nsteps = 3\n")
    with pytest.raises(UsageProblem, match=r"unknown key 'train\.steps'"):
        read_config(tmp_path / "c.toml")


def test_a_wrong_value_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('seed = "Abendroth"\n')
    with pytest.raises(UsageProblem, match="seed") as problem:
        read_config(tmp_path / "c.toml")
    assert "Abendroth" not in str(problem.value)


def test_what_the_command_line_gives_wins(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('policy = "demo"\n')
    assert read_config(tmp_path / "c.toml", policy="pilot").policy == "pilot"


def test_where_a_policy_lies_is_told_to_nobody() -> None:
    config = read_config(None, policy="/srv/st-elsewhere/own.toml")
    assert config.policy == "/srv/st-elsewhere/own.toml"
    assert "elsewhere" not in str(config.resolved())


def test_the_resolved_config_reads_back() -> None:
    config = RunConfig(name="x", seed=3)
    assert RunConfig.model_validate(config.resolved()) == config
