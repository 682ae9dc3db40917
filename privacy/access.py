"""What the maker of a cohort lets the judge ask."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from medsynth.core.protocols import Denoiser, Draw, Redraw, RoundTrip, TrainTwin


@dataclass(frozen=True)
class Access:
    """Ways to ask the generator; a gate whose way is missing says that it was not run."""

    round_trip: RoundTrip | None = None
    redraw: Redraw | None = None
    draw: Draw | None = None
    denoiser: Denoiser | None = None
    train_twin: TrainTwin | None = None

    @property
    def given(self) -> Mapping[str, bool]:
        """Which ways there are, by name."""
        return {field.name: getattr(self, field.name) is not None for field in fields(self)}
