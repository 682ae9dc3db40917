"""What a run may change about the checks of pixels."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PixelChecks(BaseModel):
    """What is looked for in the pixels of every volume, and what becomes of a hit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Literal["refuse", "off"] = "refuse"
    """Whether a volume with writing in its pixels is refused, or nothing is looked for."""
    ocr: Literal["auto", "require", "off"] = "auto"
    """Tesseract. auto: reads doubtful places, where it is installed; require: reads every picture
    as well, and where it is missing every scan is refused; off: never."""
    ocr_program: str = "tesseract"
    """Name or path of the program."""
    ocr_seconds: float = Field(default=10.0, gt=0)
    """Most seconds that one reading may take."""
    ocr_bytes: int = Field(default=1 << 30, ge=1 << 26)
    """Most bytes of memory that the program may ask for."""
    every_plane: bool = False
    """Whether each plane of a series is looked at alone, too: writing that stands in one plane
    among many is else found only where it outshines all others (20 ms a plane of 512 x 512)."""
    certain: float = Field(default=0.965, gt=0, lt=1)
    """Likeness to writing (0 to 1) from which a volume is refused without being read."""
    doubtful: float = Field(default=0.75, gt=0, lt=1)
    """Likeness from which tesseract decides; without it the volume passes, flagged."""
    faces: Literal["refuse", "deface", "keep"] = "deface"
    """What becomes of a head with a face: refused, its face removed, or kept and flagged."""
