"""What the documentation says is there, is there."""

import re
from pathlib import Path

import pytest
import typer

from flows.cli import app
from flows.config import read_config

ROOT = Path(__file__).parents[2]
COMMANDS = (ROOT / "docs" / "reference" / "commands.md").read_text()


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {k}": c for k, c in inner.items()} if inner else {name: command}
    return found


def section(command: str) -> str:
    match = re.search(rf"^## medsynth {command}\b(.*?)(?=^## |\Z)", COMMANDS, re.S | re.M)
    assert match, f"docs/reference/commands.md does not describe `medsynth {command}`"
    return match[0]


def test_every_command_and_option_is_documented() -> None:
    everywhere = {"--json", "--verbose", "--config", "--help"}
    for name, command in commands().items():
        text = section(name)
        for option in (o for p in command.params for o in p.opts if o.startswith("--")):
            assert option in everywhere or option in text, f"{option} of {name}"


def test_no_command_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^## medsynth ([a-z-]+(?: init)?)", COMMANDS, re.M)
    assert set(documented) == set(commands())


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_valid_and_named_after_its_file(path: Path) -> None:
    assert read_config(path).name.replace("-", "_") == path.stem


@pytest.mark.parametrize("page", [*sorted(ROOT.rglob("docs/**/*.md")), ROOT / "README.md"], ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
