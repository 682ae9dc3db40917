"""What the maker of a cohort lets the judge ask."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from medsynth.core.protocols import Denoiser, Draw, Redraw, RoundTrip, TrainTwin
from privacy.attacks.attributes.cells import Grid
from privacy.gates.differential_privacy import PrivacyClaim
from privacy.planted import Redream


@dataclass(frozen=True)
class Access:
    """Ways to ask the generator; a gate whose way is missing says that it was not run."""

    round_trip: RoundTrip | None = None
    redraw: Redraw | None = None
    draw: Draw | None = None
    denoiser: Denoiser | None = None
    train_twin: TrainTwin | None = None
    claim: PrivacyClaim | None = None
    """What its training promises."""
    grids: tuple[Grid, ...] = ()
    """The cells of attributes that requests were drawn from."""
    redream: Redream | None = None

    @property
    def given(self) -> Mapping[str, bool]:
        """Which ways there are, by name."""
        return {field.name: bool(getattr(self, field.name)) for field in fields(self)}
