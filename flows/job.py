"""What an operator asks of a flow."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from flows.home import Home
from medsynth.ingest.pacs.address import is_address, parse_address


class Job(BaseModel):
    """What an operator asks for: the roots and the config, all that Prefect stores of a run."""

    # What was given wrongly may hold a secret: an error must not repeat it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    out: Path
    """Parent of every stage folder."""
    config: Path | None = None
    """TOML with what changes from the defaults."""
    source: Path | None = None
    """Folder of scans; an address given here goes to `archive`."""
    archive: str | None = None
    """Address of a PACS in place of a folder; never with a secret in it."""
    retry_dead: bool = False
    """Whether series that an archive failed to give are asked for again."""
    attributes: Path | None = None
    """Table of attributes."""
    masks: Path | None = None
    """Folder of masks that the cohort is drawn with."""
    texts: Path | None = None
    """CSV file of texts that the cohort is drawn with."""
    home: Path | None = None
    """Where keys, ledgers and the MLflow store live; MEDSYNTH_HOME where not given."""
    is_demo: bool = False
    """Whether the published keys are used."""
    policy: str | None = None
    """Policy in place of the config's."""
    formats: tuple[str, ...] | None = None
    """Formats of the release in place of the config's."""

    @model_validator(mode="before")
    @classmethod
    def _knows_addresses(cls, fields: Any) -> Any:
        """A source may be an address; raises UsageProblem where it holds a secret."""
        if not isinstance(fields, dict):
            return fields
        given = fields.get("archive") or fields.get("source")
        if not isinstance(given, str) or not is_address(given):
            return fields
        parse_address(given)
        return {**fields, "source": None, "archive": given}

    @field_validator(
        "config", "source", "archive", "attributes", "masks", "texts", "home", mode="before"
    )
    @classmethod
    def _not_given(cls, value: object) -> object:
        """Deployments write what they do not set as an empty text."""
        return value or None

    def open_home(self) -> Home:
        """The home of this job."""
        folder = self.home.absolute() if self.home else Home.default().folder
        return Home(folder, self.is_demo).create()
