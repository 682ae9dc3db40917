"""The pages' templates, which lie beside this file."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medsynth.core.digest import file_digest, json_digest

_FOLDER = Path(__file__).parent


def render(name: str, **values: Any) -> str:
    """A template filled in; an undeclared value is an error, and HTML is escaped."""
    return _environment().get_template(name).render(**values)


def templates_digest() -> str:
    """Digest of every template, which `code_digest` does not see."""
    files = sorted([*_FOLDER.glob("*.md"), *_FOLDER.glob("*.html")])
    return json_digest({path.name: file_digest(path) for path in files})


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
