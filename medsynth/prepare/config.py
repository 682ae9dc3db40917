"""What a run may change about prepare."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsynth.core.manifest import FOLDS

SHARES = {"train": 0.55, "control": 0.20, "calibration": 0.20, "test": 0.05, "reserve": 0.0}


class PrepareConfig(BaseModel):
    """The model's grid, the intensity window and the folds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int] | None = None
    """Voxels (I, J, K) of the grid, K = 1 in 2D; `None`: from the median scan."""
    spacing: tuple[float, float, float] | None = None
    """Millimetres between voxels; `None`: the field of view of the median scan over `shape`."""
    intensity: Literal["percentile", "range"] = "percentile"
    """What becomes 0 and 1: percentiles of each scan, or one range for all (CT)."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Percent of a scan's voxels below 0 and 1."""
    range: tuple[float, float] = (-1024.0, 1024.0)
    """Values that become 0 and 1, in the scans' unit."""
    folds: dict[str, float] = Field(default_factory=lambda: dict(SHARES))
    """Shares of the subjects (they sum to 1), or counts of subjects (the rest go to reserve)."""
    min_subjects: int = Field(default=20, ge=1)
    """Fewest subjects to go on with."""

    @model_validator(mode="after")
    def _check(self) -> "PrepareConfig":
        for low, high in (self.percentiles, self.range):
            if low >= high:
                raise ValueError(f"an intensity window must rise, got {low} to {high}")
        for given in (self.shape, self.spacing):
            if given is not None and min(given) <= 0:
                raise ValueError(f"shape and spacing must be positive, got {given}")
        if unknown := set(self.folds) - set(FOLDS):
            raise ValueError(f"folds must be of {', '.join(FOLDS)}, got {', '.join(unknown)}")
        if min(self.folds.values(), default=0) < 0 or not sum(self.folds.values()) > 0:
            raise ValueError("folds must be shares or counts of at least 0, and not all 0")
        if not self.folds_are_shares and any(not x.is_integer() for x in self.folds.values()):
            raise ValueError("folds must be shares that sum to 1, or whole counts")
        return self

    @property
    def folds_are_shares(self) -> bool:
        """Whether `folds` are shares and not counts."""
        return abs(sum(self.folds.values()) - 1) < 1e-6
