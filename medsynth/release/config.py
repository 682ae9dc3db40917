"""What a release says of itself, and the forms it takes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ReleaseConfig(BaseModel):
    """Name, license and form of a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    formats: tuple[Literal["bids"], ...] = ("bids",)
    """Forms of the data set, one folder each."""
    name: str = "Synthetic scans"
    """The data set's name."""
    version: str = "1.0.0"
    """The data set's own version."""
    authors: tuple[str, ...] = ("The releasing institution",)
    """Who releases it."""
    license: str = "All rights reserved"
    """SPDX id or short name; it must respect the licenses of the sources."""
    license_text: str = ""
    """The whole text of the LICENSE file; empty: one sentence naming the license."""
    changes: tuple[str, ...] = ("First release.",)
    """What changed since the last version, a line each."""
    citation: str = ""
    """How to cite it."""
    suffix: str = "T1w"
    """BIDS suffix of MR scans: T1w, T2w, FLAIR, PDw ..."""
    is_skull_stripped: bool = False
    """Whether the source scans, hence the synthetic ones, show no skull."""
    known_limits: tuple[str, ...] = ()
    """Known biases and artifacts, a sentence each."""
