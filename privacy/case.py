"""One case before the judge: a cohort, the real people beside it, and all that is written of it."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medsynth.core.digest import json_digest
from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.masks import copy_masks
from medsynth.core.stage import Artifact, Request, code_digest
from privacy import vault as vaults
from privacy.folds import Fold, RealFolds
from privacy.judgment import Judgment
from privacy.ledger import Cohort, History, record_cohort, spend_fold
from privacy.past import Past
from privacy.policy import Policy
from privacy.verdict import certify

AUDIT_FILE = "audit.json"
CERTIFICATE_FILE = "certificate.json"


@dataclass(frozen=True)
class Span:
    """Which of its scans a generator drew: the seed, and indices from `start` up to `stop`."""

    seed: int = 0
    start: int = 0
    stop: int = 0


@dataclass(frozen=True)
class Case:
    """What is judged, against whom, under which policy, signed by whom, and on which record."""

    cohort: Artifact
    manifest: Manifest
    real: RealFolds
    keys: Keys
    policy: Policy
    model_digest: str | None
    folds_digest: str
    span: Span
    out: Path
    ledger: Path
    vault: Path | None

    @property
    def told(self) -> Cohort:
        """The cohort as the ledger has it, but for what only the verdict tells."""
        return Cohort(
            model=self.model_digest,
            folds=self.folds_digest,
            drawn=self.manifest.root,
            accepted="",
            num_drawn=len(self.manifest),
            num_accepted=0,
            seed=self.span.seed,
            start=self.span.start,
            stop=self.span.stop,
            verdict="",
            policy=f"{self.policy.name} {self.policy.digest[:12]}",
            out=str(self.out.absolute()),
        )

    def past(self, given: Iterable[Path]) -> Past:
        """What left before of the same source."""
        return Past.read(self.ledger, self.keys, self.told, given)

    def spend(self, fold: str) -> frozenset[int]:
        """The fold's subjects that no other screen has used, now written down as used by this."""
        people: Fold | None = getattr(self.real, fold)
        numbers = [] if people is None else np.unique(people.subjects).tolist()
        if not self.real.names:
            return frozenset(numbers)
        by_name = {self.real.names[number]: number for number in numbers}
        fresh = spend_fold(self.ledger, self.keys, fold, by_name, self._use)
        return frozenset(by_name[name] for name in fresh)

    @property
    def _use(self) -> str:
        """Digest of what decides the threshold."""
        parts = [code_digest("privacy.screen"), self.policy.alpha]
        return json_digest([*parts, self.folds_digest, self.model_digest or ""])

    def request(self, stage: str, config: Mapping[str, Any], seed: int) -> Request:
        """What decides whether a stage of this case is found."""
        parents = {
            "cohort": self.cohort.digest,
            "folds": self.folds_digest,
            "policy": self.policy.digest,
            "model": self.model_digest or "",
            **self.real.parents,
        }
        return Request(
            stage=stage,
            parents=parents,
            config=config,
            code=code_digest("privacy"),
            seed=seed,
            key_fingerprint=self.keys.fingerprint,
        )

    def accept(self, judgment: Callable[[], Judgment]) -> Callable[[Path], None]:
        """Writes the accepted scans, and locks the rejected away."""

        def build(folder: Path) -> None:
            judged = judgment()
            shutil.rmtree(folder / "volumes", ignore_errors=True)
            (folder / "volumes").mkdir()
            scans = [
                self._write(folder, self.manifest.scans[position], volume)
                for position, volume in judged.accepted.items()
            ]
            kept = self.manifest.keep(scans)
            kept.write(folder)
            rows = [scan.attributes for scan in kept]
            copy_masks(self.cohort.path, folder, kept.schema, rows)
            if self.vault is not None and len(judged.rejected):
                vaults.lock(self.vault, self._rejected(judged), self.keys)

        return build

    def _write(self, folder: Path, scan: Scan, redrawn: Float[np.ndarray, "i j k"] | None) -> Scan:
        """An accepted scan's file and row; a redrawn one keeps its request's id.

        A new id would tell which scans, and exactly how many, had been rejected.
        """
        if redrawn is None:
            kept = replace(scan, path=f"volumes/{scan.scan_id}.nii", subject_id=scan.scan_id)
            shutil.copyfile(self.cohort.path / scan.path, folder / kept.path)
            return kept
        return store_scan(
            folder,
            Volume(redrawn[None].astype(scan.dtype), scan.geometry),
            scan_id=scan.scan_id,
            subject_id=scan.scan_id,
            modality=scan.modality,
            attributes=scan.attributes,
            flags=scan.flags,
        )

    def _rejected(self, judged: Judgment) -> vaults.Rejected:
        positions = judged.rejected_positions.tolist()
        return vaults.Rejected(
            tuple(self.manifest.scans[position].scan_id for position in positions),
            tuple(vaults.buckets(judged.rejected_p, judged.num_null)),
            judged.rejected,
            vaults.expiry(self.policy.vault_days),
        )

    def testify(
        self,
        judgment: Callable[[], Judgment],
        accepted: Artifact,
        given: Mapping[str, bool],
        past: Past,
    ) -> Callable[[Path], None]:
        """Writes audit.json and the signed certificate, and before both a line of the ledger.

        So there is no certificate of which the ledger does not know.
        """

        def build(folder: Path) -> None:
            judged = judgment()
            history = self.record(judged.verdict.word, accepted, past)
            found = self._summary(judged, history, past)
            (folder / AUDIT_FILE).write_text(json.dumps(found, indent=1) + "\n")
            certify(
                judged.verdict,
                self.policy,
                self.keys,
                digests={
                    "cohort": Manifest.read(accepted.path).root,
                    "model": self.model_digest,
                    "folds": self.folds_digest,
                    "code": code_digest("privacy"),
                    "evidence": json_digest(found),
                    "ledger": history.head,
                },
                counts={name: found[name] for name in ("num_synthetic", "num_rejected")},
                subjects=self._subjects(judged),
                screen=_screen_terms(judged, self.policy, given),
                ledger=found["ledger"],
            ).write(folder / CERTIFICATE_FILE)

        return build

    def record(self, verdict: str, accepted: Artifact, past: Past | None = None) -> History:
        """Write into the ledger that this cohort was judged, once."""
        kept = Manifest.read(accepted.path)
        cohort = replace(self.told, accepted=kept.root, num_accepted=len(kept), verdict=verdict)
        beside = None if past is None else past.cohorts
        return record_cohort(self.ledger, self.keys, cohort, beside)

    def _summary(self, judged: Judgment, history: History, past: Past) -> dict[str, Any]:
        return {
            "verdict": judged.verdict.word,
            "policy": self.policy.name,
            "scope": self.policy.scope,
            "num_synthetic": len(self.manifest),
            "num_rejected": judged.num_rejected,
            "gates": [row.to_json() for row in judged.verdict.rows],
            "ledger": {
                "num_drawn": history.num_drawn(self.told.source),
                "num_earlier_cohorts": len(past.cohorts),
                "num_earlier_missing": len(past.cohorts) - len(past.places),
                "num_earlier_scans": judged.num_beside,
                "calibration_fresh": judged.num_fresh["calibration"],
                "test_fresh": judged.num_fresh["test"],
            },
        }

    def _subjects(self, judged: Judgment) -> dict[str, int]:
        return {
            "train": self.real.train.num_subjects,
            "control": self.real.control.num_subjects,
            "calibration": self.real.calibration.num_subjects,
            "calibration_missing": judged.num_missing,
        }


def _screen_terms(judged: Judgment, policy: Policy, given: Mapping[str, bool]) -> dict[str, Any]:
    """How the threshold was set; the threshold itself and every score stay here."""
    test = None
    if judged.test is not None:
        flagged, subjects, share = judged.test
        test = {"flagged": flagged, "subjects": subjects, "high": share.high}
    return {
        "alpha": policy.alpha,
        "confidence": 0.95,
        "rank": judged.rank,
        "null_holds_round_trips": given["round_trip"],
        "test_fold": test,
    }
