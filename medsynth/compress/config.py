"""Settings of a compression."""

from pydantic import BaseModel, ConfigDict, Field

from medsynth.compress.distill import DistillConfig
from medsynth.compress.gates import GateConfig
from medsynth.compress.prune import PruneConfig


class CompressConfig(BaseModel):
    """How candidates are made, timed and judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distill: DistillConfig = DistillConfig()
    """The student of few steps."""
    prune: PruneConfig = PruneConfig()
    """The slim network."""
    rounds: int = Field(default=5, ge=3)
    """Times that source and candidate each draw a micro-batch, one after the other."""
    gates: GateConfig = GateConfig()
    """What a candidate must hold."""
