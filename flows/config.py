"""A run's config: the defaults of every room, and the differences that a TOML file names."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsynth.compress.config import CompressConfig
from medsynth.convert.config import ConvertConfig
from medsynth.core.errors import UsageProblem
from medsynth.evaluate.evaluate import EvaluateConfig
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.deidentification.options import DeidentifyConfig
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.prepare.prepare import PrepareConfig
from medsynth.release.release import ReleaseConfig
from medsynth.rivals.config import RivalsConfig
from medsynth.sample.plan import Plan
from medsynth.sample.views import ViewsConfig
from medsynth.train.config import TrainConfig

Parsed = TypeVar("Parsed", bound=BaseModel)


class RunConfig(BaseModel):
    """Everything that decides a run, but for the roots an operator gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("default", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """The data set's name: its fold ledger, experiment and registered model."""
    seed: int = Field(0, ge=0)
    """Seed of training, audit and evaluation; the cohort's own stands in its plan."""
    policy: str = "pilot"
    """Name or file of the policy that judges."""
    attributes: dict[str, AttributeSource] = Field(default_factory=dict)
    """Declared attributes by name; a shorter way to write ingest.attributes."""
    ingest: IngestConfig = IngestConfig()
    """Reading an archive."""
    workers: str = Field(
        "", pattern=r"^$|^(processes|dask|ray):[1-9]\d*$|^dask:t(cp|ls)://|^ray://"
    )
    """Who reads it, and who draws the cohort: empty for this process, processes:4, dask:4,
    dask:tcp://HOST:8786, ray:4 or ray://HOST:10001; the stages are the same with any."""
    deidentify: DeidentifyConfig = DeidentifyConfig()
    """Rewriting DICOM without identifiers."""
    pacs: PacsConfig = PacsConfig()
    """Which series of an archive are wanted, and how they are fetched."""
    prepare: PrepareConfig = PrepareConfig()
    """Grid and folds."""
    train: TrainConfig = TrainConfig()
    """Networks and steps."""
    convert: ConvertConfig = ConvertConfig()
    """What somebody else's checkpoint does not say of itself."""
    sample: Plan = Plan()
    """The cohort asked for."""
    views: ViewsConfig = ViewsConfig()
    """Scans that are drawn to be compared."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """What is measured."""
    rivals: RivalsConfig = RivalsConfig()
    """How long each model of a comparison learns, and the rivals' shapes."""
    compress: CompressConfig = CompressConfig()
    """How a smaller or faster generator is made and measured."""
    release: ReleaseConfig = ReleaseConfig()
    """What leaves, and under which licence."""

    def resolved(self) -> dict[str, Any]:
        """Plain JSON of every value, defaults too; never the path of a file."""
        fields = self.model_dump(mode="json")
        if Path(self.policy).suffix == ".toml":
            fields["policy"] = "a file"
        if isinstance(self.sample.like, str) and self.sample.like:
            fields["sample"]["like"] = "a table"
        if self.train.perceptual_weights is not None:
            fields["train"]["perceptual_weights"] = "a file"
        if self.train.text_encoder is not None:
            fields["train"]["text_encoder"] = "a folder"
        return fields


def read_config(
    path: Path | None, *, policy: str | None = None, formats: Sequence[str] | None = None
) -> RunConfig:
    """The config of a TOML file, or the defaults; raises UsageProblem that names a wrong key.

    `policy` and the release's `formats` are what the command line puts in the config's place.
    """
    fields = {} if path is None else _read_toml(path)
    if policy is not None:
        fields["policy"] = policy
    if formats is not None:
        fields["release"] = {**fields.get("release", {}), "formats": list(formats)}
    _point_at_table(fields.get("sample"), path)
    if fields.get("attributes"):
        ingest = fields.setdefault("ingest", {})
        if isinstance(ingest, dict):
            ingest.setdefault("attributes", fields["attributes"])
    return parse_config(RunConfig, fields)


def read_plan(path: Path | None, base: Plan, **changes: Any) -> Plan:
    """A plan from a TOML file or a base, with what the command line changes."""
    fields = base.model_dump() if path is None else _read_toml(path)
    _point_at_table(fields, path)
    given = {key: value for key, value in changes.items() if value is not None}
    return parse_config(Plan, {**fields, **given})


def parse_indices(texts: Sequence[str]) -> tuple[int, ...]:
    """Indices written as 417 or 400..420, both ends included; raises UsageProblem."""
    found = [re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text) for text in texts]
    spans = [(int(m[1]), int(m[2] or m[1])) for m in found if m]
    if len(spans) < len(texts) or any(low > high for low, high in spans):
        raise UsageProblem("--index must be a whole number such as 417, or a range: 400..420")
    return tuple(sorted({index for low, high in spans for index in range(low, high + 1)}))


def _point_at_table(plan: Any, path: Path | None) -> None:
    """The table that a plan names lies beside the file that names it."""
    if path is not None and isinstance(plan, dict) and isinstance(table := plan.get("like"), str):
        plan["like"] = str(path.absolute().parent / table) if table else ""


def parse_config(kind: type[Parsed], fields: dict[str, Any]) -> Parsed:
    """A config object; raises UsageProblem naming each wrong key and never its value."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        raise UsageProblem("config: " + "; ".join(_describe(p) for p in problems)) from None


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "the whole"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {key!r}"
    return f"{key}: {problem['msg']}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError:
        raise UsageProblem("the config must be a readable file; found none there") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageProblem(f"the config must be TOML: {error}") from None
