"""Stage folders: whole or not there, found by what made them, checked before they are read.

A stage is found, not run, when its parents, config, seed, code and key fingerprint agree with
the receipt of OUT/STAGE. Unfinished work lies in OUT/.partial/STAGE-KEY12, where a killed run
goes on; a folder that no longer holds moves to OUT/superseded/STAGE-DIGEST12.
"""

import ast
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medsynth.core.digest import file_digest, json_digest
from medsynth.core.errors import StaleInput
from medsynth.core.threads import in_threads

FORMAT = "medsynth-stage-1"
RECEIPT = "receipt.json"
_PACKAGES = ("medsynth", "privacy", "flows")
_NONE: Mapping[str, str] = MappingProxyType({})

Progress = Callable[[int, int], None]
"""Called with (done, total) as long work goes on."""


def silent(done: int, total: int) -> None:
    """A progress that shows nothing."""


@dataclass(frozen=True)
class Artifact:
    """A stage folder by path and digest; `reused` when it was found and not run."""

    path: Path
    digest: str
    reused: bool = field(default=False, compare=False)

    @property
    def stage(self) -> str:
        """Name of the stage that wrote it."""
        return str(self.receipt["stage"])

    @property
    def receipt(self) -> dict[str, Any]:
        """What made this folder."""
        receipt: dict[str, Any] = json.loads((self.path / RECEIPT).read_text())
        return receipt


@dataclass(frozen=True)
class Request:
    """What decides whether a stage is found: everything that could change its content."""

    stage: str
    parents: Mapping[str, str]
    config: Mapping[str, Any]
    code: str
    seed: int = 0
    key_fingerprint: str = ""

    @property
    def key(self) -> str:
        """Digest of the request."""
        return json_digest(_plain(asdict(self)))


Build = Callable[[Path], Mapping[str, str] | None]
"""Fills a folder; may return digests of files that it took while it wrote them, by path in it."""


def produce(out: Path, request: Request, build: Build) -> Artifact:
    """The stage OUT/STAGE that answers this request: found, or built by `build(folder)`.

    `build` gets an unfinished folder that may hold what an earlier, killed run left there.
    """
    folder = out / request.stage
    found = _find(folder, request)
    if found is not None:
        return found
    partial = out / ".partial" / f"{request.stage}-{request.key[:12]}"
    partial.mkdir(parents=True, exist_ok=True)
    for private in (out, partial.parent, partial):
        private.chmod(0o700)
    digest = _write_receipt(partial, request, build(partial) or {})
    if folder.exists():
        _supersede(folder)
    partial.rename(folder)
    return Artifact(folder, digest)


def open_stage(folder: Path) -> Artifact:
    """An existing stage folder, after every file was checked against the receipt.

    Raises StaleInput where a file is missing, changed or not listed.
    """
    try:
        receipt = json.loads((folder / RECEIPT).read_text())
    except (OSError, ValueError):
        raise StaleInput(
            f"{folder.name} must be a stage folder with a receipt, found none"
        ) from None
    if receipt.get("format") != FORMAT or _receipt_digest(receipt) != receipt.get("digest"):
        raise StaleInput(f"{folder.name}: the receipt was changed; run the stage again")
    if _file_digests(folder) != receipt["files"]:
        raise StaleInput(f"{folder.name}: files no longer match the receipt; run the stage again")
    return Artifact(folder, receipt["digest"])


def _find(folder: Path, request: Request) -> Artifact | None:
    try:
        found = open_stage(folder)
    except StaleInput:
        return None
    receipt = found.receipt
    same = all(receipt[name] == value for name, value in _plain(asdict(request)).items())
    return Artifact(folder, found.digest, reused=True) if same else None


def _write_receipt(folder: Path, request: Request, known: Mapping[str, str]) -> str:
    receipt = {
        "format": FORMAT,
        "version": version("medsynth"),
        **_plain(asdict(request)),
        "files": _file_digests(folder, known),
    }
    receipt["digest"] = _receipt_digest(receipt)
    (folder / RECEIPT).write_text(json.dumps(receipt, indent=1, sort_keys=True) + "\n")
    return str(receipt["digest"])


def _receipt_digest(receipt: Mapping[str, Any]) -> str:
    return json_digest({name: value for name, value in receipt.items() if name != "digest"})


def _file_digests(folder: Path, known: Mapping[str, str] = _NONE) -> dict[str, str]:
    """Digest of every file by its path in the folder; what is known of one is not read again."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = sorted(path for path in paths if path != RECEIPT)
    unknown = [name for name in names if name not in known]
    read = in_threads(lambda name: file_digest(folder / name), unknown)
    found = {**known, **{name: digest() for name, digest in zip(unknown, read, strict=True)}}
    return {name: found[name] for name in names}


def _supersede(folder: Path) -> None:
    try:
        digest = json.loads((folder / RECEIPT).read_text())["digest"]
    except (OSError, ValueError, KeyError):
        digest = hashlib.sha256(json.dumps(_file_digests(folder)).encode()).hexdigest()
    target = folder.parent / "superseded" / f"{folder.name}-{digest[:12]}"
    number = 0
    while target.exists():
        number += 1
        target = target.with_name(f"{folder.name}-{digest[:12]}.{number}")
    target.parent.mkdir(exist_ok=True, mode=0o700)
    folder.rename(target)


def _plain(value: Any) -> Any:
    """The value as it looks after a round trip through JSON."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))


@cache
def code_digest(module: str) -> str:
    """Digest of a room's sources and data, of all rooms that it imports, and of the lock."""
    sources = sorted(_sources(module, set()))
    sha = hashlib.sha256()
    for path in [*sources, *_lock()]:
        sha.update(file_digest(path).encode())
    return sha.hexdigest()


def _lock() -> list[Path]:
    root = Path(__file__).parents[2]
    return [path for path in [root / "requirements.lock"] if path.exists()]


def _sources(module: str, seen: set[str]) -> set[Path]:
    """Files of a module or package and of everything of ours that they import."""
    if module in seen:
        return set()
    seen.add(module)
    files = _module_files(module)
    imported = {name for path in files for name in _imports(path)}
    return files.union(*(_sources(name, seen) for name in sorted(imported)))


def _module_files(module: str) -> set[Path]:
    spec = find_spec(module)
    if spec is None:
        return set()
    if spec.submodule_search_locations:
        folders = map(Path, spec.submodule_search_locations)
        return {path for folder in folders for path in folder.rglob("*") if _is_source(path)}
    return {Path(spec.origin)} if spec.origin else set()


def _is_source(path: Path) -> bool:
    """Whether it is a module, or a table or template that lies beside one."""
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")


def _imports(path: Path) -> set[str]:
    if path.suffix != ".py":
        return set()
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name for name in names if name.split(".")[0] in _PACKAGES}
