"""What a run may decide about NIfTI files that do not decide it themselves."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class NiftiConfig(BaseModel):
    """Rules for what a NIfTI header leaves open; by default what is open is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volumes: Literal["refuse", "split", "first"] | Annotated[int, Field(ge=0)] = "refuse"
    """A file of several volumes: refused, split into scans, its first, or that of this index."""
    conflict: Literal["refuse", "sform", "qform"] = "refuse"
    """qform and sform further apart than `tolerance_mm`: refused, or which of them is taken."""
    tolerance_mm: float = Field(default=2.0, ge=0)
    """Most that qform and sform may put a corner of the image apart, mm; flagged from 0.1 mm on."""
    no_affine: Literal["refuse", "assume"] = "refuse"
    """Neither qform nor sform: refused, or taken for RAS+ axes at the origin, and flagged."""
    max_nonfinite: float = Field(default=0.2, ge=0, le=1)
    """Largest share of voxels that may be NaN or infinite; they become the smallest finite."""
