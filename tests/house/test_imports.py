"""The arrows of the house run one way; `ast` walks every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "core",
    "ingest",
    "prepare",
    "models",
    "text_encoder",
    "checkpoint",
    "convert",
    "train",
    "sample",
    "rivals",
    "evaluate",
    "compress",
    "release",
)
ORDER = {f"medsynth.{room}": number for number, room in enumerate(ROOMS)}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path.relative_to(ROOT)}"
            names.add(node.module or "")
    return names


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no sources below {package}"
    return found


def test_the_maker_imports_neither_the_judge_nor_the_order() -> None:
    for path in files("medsynth"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & {"privacy", "flows"}, path.relative_to(ROOT)


def test_the_judge_imports_the_core_and_nothing_else_of_ours() -> None:
    for path in files("privacy"):
        ours = {n for n in imports(path) if n.split(".")[0] in ("medsynth", "flows")}
        assert all(room(name) == "medsynth.core" for name in ours), path.relative_to(ROOT)


def test_only_flows_speaks_to_prefect_and_mlflow() -> None:
    for path in files("medsynth") + files("privacy"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & {"prefect", "mlflow", "typer", "rich"}, path.relative_to(ROOT)


def test_a_room_imports_only_the_rooms_above_it() -> None:
    for path in files("medsynth"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        here = ".".join(parts[:2])
        for name in imports(path):
            if name.startswith("medsynth.") and room(name) != here:
                assert ORDER[room(name)] < ORDER[here], f"{path.relative_to(ROOT)} imports {name}"


def test_the_core_needs_no_torch() -> None:
    for path in files("medsynth/core"):
        assert "torch" not in {n.split(".")[0] for n in imports(path)}, path.name
    assert (ROOT / "medsynth/core/__init__.py").read_text() == ""


def loads(path: Path) -> list[str]:
    """Calls of torch.load; only the importer of foreign checkpoints may make one."""
    calls = [
        ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
    ]
    found = [call for call in calls if call.startswith("torch.load(")]
    assert not found or path == ROOT / "medsynth/convert/foreign.py", path.relative_to(ROOT)
    return found


def test_nothing_is_ever_unpickled() -> None:
    for package in ("medsynth", "privacy", "flows"):
        for path in files(package):
            assert not {"pickle", "joblib", "dill", "cloudpickle"} & imports(path), path.name
            assert all("weights_only=True" in call for call in loads(path)), path.relative_to(ROOT)


@pytest.mark.parametrize("package", ["medsynth", "privacy", "flows"])
def test_no_module_is_a_drawer_of_odds_and_ends(package: str) -> None:
    drawers = {"utils", "helpers", "common", "manager", "handler", "misc"}
    assert not {path.stem for path in files(package)} & drawers
