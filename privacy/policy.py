"""Policies: limits on evidence, read from TOML that a data protection officer can review."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsynth.core.digest import json_digest
from medsynth.core.errors import UsageProblem

_FOLDER = Path(__file__).parent / "policies"


class _Terms(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PowerTerms(_Terms):
    """The screen must find planted copies of every must-catch kind."""

    low_at_least: float = Field(gt=0, lt=1)
    """Limit on the lower bound of the recall, a share."""
    num_planted: int = Field(ge=1)
    """Copies planted per kind; fewer cannot pass."""
    must_catch: tuple[str, ...] = Field(min_length=1)
    """Kinds of privacy.planted."""


class RejectionTerms(_Terms):
    """The generator must not need much screening."""

    high_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the rejected share."""
    min_synthetic: int = Field(ge=1)
    """Synthetic scans below which nothing can pass."""


class PartitionTerms(_Terms):
    """Members must not be resembled more often than controls."""

    excess_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the residual excess, a share of the members."""
    p_above: float = Field(gt=0, lt=1)
    """The permutation p-value must exceed this."""
    min_controls: int = Field(ge=1)
    """Control subjects below which nothing can pass."""


class Policy(_Terms):
    """What must be shown before a cohort may leave."""

    name: str
    """Short name, recorded in the certificate."""
    purpose: str
    """What the policy is for, and what it is not for."""
    scope: Literal["data", "model"]
    """What the verdict is about."""
    alpha: float = Field(gt=0, lt=0.5)
    """Highest share of fresh real subjects that the screen may flag."""
    allows_demo_keys: bool = False
    """Whether the published demo keys may sign."""
    k_min: int = Field(default=11, ge=1)
    """Train subjects that an attribute cell needs before it may be asked for."""
    valid_months: int = Field(default=12, ge=1, le=12)
    """Months until the certificate expires."""
    vault_days: int = Field(default=30, ge=1)
    """Days until rejected scans in the vault expire."""
    screen_power: PowerTerms
    rejection_rate: RejectionTerms
    partition: PartitionTerms

    @property
    def digest(self) -> str:
        """Digest of every term."""
        return json_digest(self.model_dump(mode="json"))


def read_policy(name_or_path: str) -> Policy:
    """A policy of ours by name, or any by the path of its TOML file."""
    shipped = _FOLDER / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in _FOLDER.glob("*.toml")))
        raise UsageProblem(f"a policy is {known}, or the path of a TOML file; found no such policy")
    try:
        return Policy.model_validate(tomllib.loads(path.read_text()))
    except (ValidationError, tomllib.TOMLDecodeError) as problem:
        raise UsageProblem(f"the policy cannot be read: {problem}") from None
