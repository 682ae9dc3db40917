"""The validators that stand behind a writer: a complaint fails the release."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medsynth.core.errors import MedsynthError

BIDS_VALIDATOR = "bids-validator-deno"
ACCEPTED_WARNINGS = frozenset({"SIDECAR_KEY_RECOMMENDED", "TOO_FEW_AUTHORS"})


def installed_validators() -> dict[str, str]:
    """Each validator with its version, or "not run" where it is not installed."""
    try:
        return {BIDS_VALIDATOR: version(BIDS_VALIDATOR) if _find() else "not run"}
    except PackageNotFoundError:
        return {BIDS_VALIDATOR: "not run"}


def validate_bids(folder: Path) -> list[str]:
    """Codes of all that the BIDS validator complains of, but for warnings that we accept.

    Empty where it is not installed.
    """
    binary = _find()
    if binary is None:
        return []
    run = subprocess.run(
        [binary, str(folder), "--json"], capture_output=True, text=True, check=False
    )
    try:
        issues = json.loads(run.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError):
        raise MedsynthError(f"{BIDS_VALIDATOR} gave no readable answer") from None
    return sorted({issue["code"] for issue in issues if not _is_accepted(issue)})


def _is_accepted(issue: Mapping[str, Any]) -> bool:
    return issue.get("severity") == "warning" and issue["code"] in ACCEPTED_WARNINGS


def _find() -> str | None:
    beside_python = Path(sys.executable).parent / BIDS_VALIDATOR
    return str(beside_python) if beside_python.exists() else shutil.which(BIDS_VALIDATOR)
