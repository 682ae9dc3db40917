"""What an operator asks of a flow."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from flows.home import Home


class Job(BaseModel):
    """What an operator asks for: the roots and the config, all that Prefect stores of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    """Parent of every stage folder."""
    config: Path | None = None
    """TOML with what changes from the defaults."""
    source: Path | None = None
    """Folder of scans."""
    attributes: Path | None = None
    """Table of attributes."""
    home: Path | None = None
    """Where keys, ledgers and the MLflow store live; MEDSYNTH_HOME where not given."""
    is_demo: bool = False
    """Whether the published keys are used."""
    policy: str | None = None
    """Policy in place of the config's."""
    formats: tuple[str, ...] | None = None
    """Formats of the release in place of the config's."""

    @field_validator("config", "source", "attributes", "home", mode="before")
    @classmethod
    def _not_given(cls, value: object) -> object:
        """Deployments write what they do not set as an empty text."""
        return value or None

    def open_home(self) -> Home:
        """The home of this job."""
        folder = self.home.absolute() if self.home else Home.default().folder
        return Home(folder, self.is_demo).create()
