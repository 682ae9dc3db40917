"""All attacks that a policy asks for and the maker's ways allow, on one cohort."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Bool, Float

from medsynth.core.protocols import Denoiser
from medsynth.core.schema import Attributes, AttributeSchema
from privacy.access import Access
from privacy.attacks.attributes.disclosure import Disclosure, disclose
from privacy.attacks.canary import CanaryAudit, audit_canaries
from privacy.attacks.canary_scans import draw_canaries
from privacy.attacks.copying import Copying, copying
from privacy.attacks.copying_features import copying_features
from privacy.attacks.extraction import GUIDANCES, Extraction, extraction
from privacy.attacks.extraction_targets import NUM_ALIKE, NUM_RANDOM, NUM_RARE
from privacy.attacks.membership import Membership, membership
from privacy.attacks.membership_signals import read_signals
from privacy.evidence import GateRow
from privacy.folds import Fold, RealFolds
from privacy.gates import attributes as attributes_gate
from privacy.gates import canary as canary_gate
from privacy.gates import copying as copying_gate
from privacy.gates import differential_privacy
from privacy.gates import extraction as extraction_gate
from privacy.gates import membership as membership_gate
from privacy.policy import Policy
from privacy.screen.decide import Screen

_DRAWN_AT = (NUM_RARE + NUM_ALIKE + NUM_RANDOM) * len(GUIDANCES)
"""Targets and guidances of extraction, each drawn equally often."""

Volumes = Float[np.ndarray, "n i j k"]


@dataclass(frozen=True, eq=False)
class Campaign:
    """A cohort as it was drawn, the real people, and the ways into the generator."""

    volumes: Volumes
    requests: Sequence[Attributes]
    schema: AttributeSchema
    folds: RealFolds
    policy: Policy
    access: Access
    screen: Screen
    seed: int

    def rows(self) -> list[GateRow]:
        """The rows of every attack that the policy asks for."""
        policy, claim = self.policy, self.access.claim
        return [
            *copying_gate.rows(self._copying(), policy),
            *attributes_gate.rows(self._attributes(), policy),
            *extraction_gate.rows(self._extraction(), policy),
            *membership_gate.rows(self._membership(), policy),
            *canary_gate.rows(self._canaries(), policy, claim),
            *differential_privacy.rows(claim, policy),
        ]

    def _copying(self) -> Copying | None:
        if self.policy.copying is None:
            return None
        features = copying_features(self.volumes, self.folds.train, self.folds.control)
        return copying(*features, self.seed)

    def _attributes(self) -> Disclosure | None:
        asked, train, control = self.policy.attributes, self.folds.train, self.folds.control
        if asked is None or not (train.attributes and control.attributes):
            return None
        cohort = Fold(self.volumes, np.arange(len(self.volumes)), tuple(self.requests))
        return disclose(
            cohort, train, control, self.schema,
            grids=self.access.grids, k=self.policy.k_min,
            num_tries=asked.min_attacks, seed=self.seed,
        )  # fmt: skip

    def _extraction(self) -> Extraction | None:
        asked, draw = self.policy.extraction, self.access.draw
        if asked is None or draw is None:
            return None
        return extraction(
            self.folds, draw, self._is_hit,
            num_draws=ceil(asked.min_draws / _DRAWN_AT),
            denoiser=self.access.denoiser, round_trip=self.access.round_trip, seed=self.seed,
        )  # fmt: skip

    def _is_hit(self, volumes: Volumes, subject: int) -> Bool[np.ndarray, " n"]:
        """Whether the screen refuses each draw because of this subject."""
        scores = self.screen.match(volumes, lambda count: None)
        is_near = (scores.values > self.screen.threshold) & (scores.subjects == subject)
        hits: Bool[np.ndarray, " n"] = is_near.any(1)
        return hits

    def _membership(self) -> Membership | None:
        denoiser = self.access.denoiser
        if self.policy.membership is None or denoiser is None:
            return None
        return membership(
            self.folds.train, self.folds.control, denoiser,
            round_trip=self.access.round_trip, seed=self.seed,
        )  # fmt: skip

    def _canaries(self) -> CanaryAudit | None:
        asked, train_twin = self.policy.canary, self.access.train_twin
        if asked is None or train_twin is None:
            return None
        i, j, k = self.folds.shape
        known = self.folds.train.attributes
        canaries = draw_canaries(asked.min_canaries, (i, j, k), self.schema, known, self.seed)
        return audit_canaries(train_twin, self._memory, canaries, seed=self.seed)

    def _memory(
        self, twin: Denoiser, volumes: Volumes, attributes: Sequence[Attributes]
    ) -> Float[np.ndarray, " n"]:
        """How well the twin denoises each scan: its loss in the mean over the times."""
        signals = read_signals(twin, volumes, attributes, self.seed)
        losses = [signal for name, signal in signals.items() if name.startswith("loss")]
        mean: Float[np.ndarray, " n"] = np.mean(losses, axis=0)
        return mean
