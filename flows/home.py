"""What outlives a run: keys, fold ledgers, vault, the MLflow store; and the environment around it.

`MEDSYNTH_HOME` (default: the user's data folder) holds them all, readable by its owner alone.
This is the only module that reads or sets environment variables.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsynth.core.errors import KeysMissing, UsageProblem
from medsynth.core.keys import DEMO_KEYS, Keys, create_keys, read_keys

KEYS_BLOCK = "medsynth-keys"
PACS_BLOCK = "medsynth-pacs"
SERVER_SECONDS = 20.0
_PACS_PREFIX = "MEDSYNTH_PACS_"

_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Reading a run's source from git and the machine would put the user's name and paths into it.
    "MLFLOW_RUN_CONTEXT": '{"mlflow.user": "medsynth", "mlflow.source.name": "medsynth"}',
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    # Without it no deterministic matrix product exists on a GPU; torch refuses then.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # A loaded machine needs longer than the 20 s that Prefect gives its temporary server.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_CLI_PROMPT": "false",
}
_SILENT = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


@dataclass(frozen=True)
class Home:
    """The folder that holds what outlives a run; `is_demo` uses the published keys."""

    folder: Path
    is_demo: bool = False

    @classmethod
    def default(cls) -> "Home":
        """MEDSYNTH_HOME, else the user's data folder."""
        given = os.environ.get("MEDSYNTH_HOME")
        if given:
            return cls(Path(given).absolute())
        from platformdirs import user_data_path

        return cls(user_data_path("medsynth"))

    def create(self) -> "Home":
        """The same home, its folder made and private."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        return self

    @property
    def keys_file(self) -> Path:
        """MEDSYNTH_KEYS, else keys.json in the home."""
        given = os.environ.get("MEDSYNTH_KEYS")
        return Path(given).absolute() if given else self.folder / "keys.json"

    def keys(self) -> Keys:
        """The secrets; raises KeysMissing where `medsynth keys init` was never run."""
        if self.is_demo:
            return DEMO_KEYS
        if not self.keys_file.is_file() and os.environ.get("PREFECT_API_URL"):
            return _keys_from_block()
        return read_keys(self.keys_file)

    def init_keys(self) -> Keys:
        """Write fresh secrets; refuses to overwrite any."""
        self.create()
        self.keys_file.parent.mkdir(parents=True, exist_ok=True)
        return create_keys(self.keys_file)

    def ledger(self, name: str) -> Path:
        """The fold ledger of a data set."""
        folder = self.create().folder / "ledgers"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{name}.jsonl"

    def judge_ledger(self, name: str) -> Path:
        """The judge's ledger of a data set: cohorts judged, folds spent."""
        return self.ledger(name).with_suffix(".judge.jsonl")

    def spool(self, name: str) -> Path:
        """Where what an archive gave for a data set lies."""
        return self.create().folder / "spool" / name

    @property
    def vault(self) -> Path:
        """Where rejected scans go, encrypted."""
        return self.folder / "vault"

    @property
    def tracking_uri(self) -> str:
        """MLFLOW_TRACKING_URI, else sqlite in the home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def artifact_location(self) -> str | None:
        """Where MLflow keeps files; `None` leaves it to a tracking server."""
        is_local = self.tracking_uri.startswith("sqlite:")
        return (self.folder / "mlartifacts").as_uri() if is_local else None


def _keys_from_block() -> Keys:
    """The secrets out of the Prefect Secret block `medsynth-keys`, written as the key file is."""
    from prefect.blocks.system import Secret

    try:
        value = Secret.load(KEYS_BLOCK).get()  # type: ignore[union-attr]
    except ValueError:
        raise KeysMissing from None
    fields: Mapping[str, str] = json.loads(value) if isinstance(value, str) else value
    secret, signing, vault = (bytes.fromhex(fields[n]) for n in ("secret", "signing", "vault"))
    return Keys(secret, signing, vault)


def archive_secrets() -> Mapping[str, str]:
    """What an archive asks for: MEDSYNTH_PACS_TOKEN and so on, else the block `medsynth-pacs`."""
    given = {
        name.removeprefix(_PACS_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(_PACS_PREFIX) and value
    }
    if given or not os.environ.get("PREFECT_API_URL"):
        return given
    from prefect.blocks.system import Secret

    try:
        value = Secret.load(PACS_BLOCK).get()  # type: ignore[union-attr]
    except ValueError:
        return {}
    fields: Mapping[str, str] = json.loads(value) if isinstance(value, str) else value
    return fields


def set_environment(home: Home, *, verbose: bool = False) -> None:
    """Keep Prefect and MLflow local and silent; must come before either is imported."""
    for name, value in (_QUIET if verbose else {**_QUIET, **_SILENT}).items():
        os.environ.setdefault(name, value)
    if home.artifact_location:
        # Else MLflow's own first experiment would hold the folder where the command was called.
        os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", home.artifact_location)
    if home.is_demo:
        os.environ.setdefault("PREFECT_HOME", str(home.create().folder / "prefect"))


def has_prefect_server() -> bool:
    """Whether a real Prefect server is named, by the environment or by Prefect's profile."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url is not None


def require_prefect_server() -> None:
    """Raise UsageProblem where PREFECT_API_URL names a server and nothing answers there."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=SERVER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in, Prefect will say
    except (OSError, ValueError):
        raise UsageProblem(
            "the Prefect server of PREFECT_API_URL must answer, found none there;"
            " start it, or unset PREFECT_API_URL to run without one"
        ) from None


def require_one_process() -> None:
    """Raise UsageProblem where torchrun started this process beside others."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageProblem(
            "only `medsynth train` runs in several processes; call every other verb without"
            " torchrun, it finds what was trained"
        )


def require_folder(path: Path, what: str) -> Path:
    """The folder's absolute path; raises UsageProblem where there is none."""
    if not path.is_dir():
        raise UsageProblem(f"{what} must be an existing folder, found none there")
    return path.absolute()


def place_variables(text: str) -> str:
    """The text with each `{{ $NAME }}` replaced by the environment's value, or by nothing."""
    return re.sub(r"\{\{\s*\$(\w+)\s*\}\}", lambda m: os.environ.get(m[1], ""), text)


def tracking_place(uri: str) -> str:
    """How a person opens the MLflow store."""
    return f"{uri} (mlflow ui --backend-store-uri {uri})" if uri.startswith("sqlite:") else uri
