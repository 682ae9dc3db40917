"""Policies: limits on evidence, read from TOML that a data protection officer can review."""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from medsynth.core.digest import json_digest
from medsynth.core.errors import UsageProblem
from privacy.terms import (
    AttributeTerms,
    CanaryTerms,
    ConsistencyTerms,
    CopyingTerms,
    ExtractionTerms,
    HardTerms,
    MembershipTerms,
    PartitionTerms,
    PowerTerms,
    PrivacyBudget,
    RejectionTerms,
    Scope,
    Terms,
)

_FOLDER = Path(__file__).parent / "policies"


class Policy(Terms):
    """What must be shown before a cohort may leave."""

    name: str
    """Short name, recorded in the certificate."""
    purpose: str
    """What the policy is for, and what it is not for."""
    scope: Scope
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
    screen_power_hard: HardTerms | None = None
    """This and what follows binds where it stands in the policy."""
    consistency: ConsistencyTerms | None = None
    copying: CopyingTerms | None = None
    extraction: ExtractionTerms | None = None
    membership: MembershipTerms | None = None
    attributes: AttributeTerms | None = None
    canary: CanaryTerms | None = None
    differential_privacy: PrivacyBudget | None = None

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
