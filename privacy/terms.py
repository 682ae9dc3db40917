"""What a policy asks: one section of limits per family of gates, as it stands in the TOML file."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Terms(BaseModel):
    """Limits; an unknown word is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PowerTerms(Terms):
    """The screen must find planted copies of every must-catch kind."""

    low_at_least: float = Field(gt=0, lt=1)
    """Limit on the lower bound of the recall, a share."""
    num_planted: int = Field(ge=1)
    """Copies planted per kind; fewer cannot pass."""
    must_catch: tuple[str, ...] = Field(min_length=1)
    """Kinds of privacy.planted."""


class HardTerms(Terms):
    """Kinds that are hard to find: partial, mixed, far from the original."""

    low_at_least: float = Field(gt=0, lt=1)
    """Limit on the lower bound of the recall, a share."""
    num_planted: int = Field(ge=1)
    """Copies planted per kind; fewer cannot pass."""
    kinds: tuple[str, ...] = Field(min_length=1)
    """Kinds of privacy.planted."""


class ConsistencyTerms(Terms):
    """Detectors trained from different seeds must flag the same scans."""

    kappa_at_least: float = Field(gt=0, le=1)
    """Limit on the smallest pairwise Cohen kappa."""
    num_seeds: int = Field(ge=2)
    """Detectors compared."""


class RejectionTerms(Terms):
    """The generator must not need much screening."""

    high_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the rejected share."""
    min_synthetic: int = Field(ge=1)
    """Synthetic scans below which nothing can pass."""


class PartitionTerms(Terms):
    """Members must not be resembled more often than controls."""

    excess_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the residual excess, a share of the members."""
    p_above: float = Field(gt=0, lt=1)
    """The permutation p-value must exceed this."""
    min_controls: int = Field(ge=1)
    """Control subjects below which nothing can pass."""


class CopyingTerms(Terms):
    """The cohort as a whole must not lie closer to members than fresh people do."""

    p_above: float = Field(gt=0, lt=1)
    """The permutation p-value of C_T must exceed this."""
    authenticity_at_least: float = Field(gt=-1, lt=1)
    """Limit on the lower bound of the authentic share, less that of controls."""
    ratio_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the share of scans whose nearest neighbor is far nearer than the
    second, in excess of controls."""
    duplicates_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the share of scans with a duplicate in the cohort, in excess of
    controls."""
    min_synthetic: int = Field(ge=1)
    """Synthetic scans below which nothing can pass."""
    min_controls: int = Field(ge=1)
    """Control subjects below which nothing can pass."""


class ExtractionTerms(Terms):
    """Draws aimed at single members must not bring them back."""

    high_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the share of draws that hit."""
    min_draws: int = Field(ge=1)
    """Draws below which nothing can pass."""


class MembershipTerms(Terms):
    """Whoever holds the weights must not tell members from controls."""

    auc_at_most: float = Field(gt=0.5, lt=1)
    """Limit on the upper bound of the AUC."""
    worst_stratum_at_most: float = Field(gt=0.5, lt=1)
    """The same in the worst stratum of the attributes."""
    tpr_1_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of the true-positive rate at a false-positive rate of 1 %."""
    tpr_01_at_most: float | None = Field(default=None, gt=0, lt=1)
    """The same at .1 %; asked for in model scope only."""
    min_subjects: int = Field(ge=1)
    """Members, and controls, below which nothing can pass."""
    min_controls_01: int = Field(default=3000, ge=1)
    """Controls below which the rate at .1 % cannot be estimated."""


class AttributeTerms(Terms):
    """The exported table must give nobody away."""

    risk_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of singling out and of inference, in excess of controls."""
    gap_at_most: float = Field(gt=0, lt=1)
    """Limit on the upper bound of what images tell of members' unasked attributes, less of
    controls'."""
    min_attacks: int = Field(ge=1)
    """Attacks below which nothing can pass."""


class CanaryTerms(Terms):
    """A twin trained with planted scans must not tell which of them it saw."""

    epsilon_at_most: float = Field(gt=0)
    """Limit on the lower bound of epsilon; where the policy asks for differential privacy, the
    claimed epsilon binds beside it."""
    min_canaries: int = Field(ge=1)
    """Canaries below which nothing can pass."""


class PrivacyBudget(Terms):
    """Training must have been differentially private."""

    epsilon_at_most: float = Field(gt=0)
    """Limit on the accountant's epsilon, per subject."""
    delta_at_most: float = Field(gt=0, lt=1)
    """Limit on its delta."""


Scope = Literal["data", "model"]
