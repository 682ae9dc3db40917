"""Settings of a differentially private training."""

from pydantic import BaseModel, ConfigDict, Field


class DpConfig(BaseModel):
    """What is promised to each subject, and how a step is made from subjects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: float = Field(default=8.0, gt=0)
    """Highest epsilon of the training, per subject; the noise is chosen to meet it."""
    subjects_per_step: int = Field(default=32, ge=1)
    """Expected subjects of a step; each takes part by its own coin."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Most that one subject moves the sum of gradients, in the Euclidean norm."""
    draws_per_subject: int = Field(default=4, ge=1)
    """Noises and times over which a subject's gradient is averaged."""
    scans_per_subject: int = Field(default=4, ge=1)
    """Scans over which the draws are spread, at most, where a subject has several."""
