"""The audit: a cohort in, its accepted part and a signed verdict out.

Three stages. `self_test` is the judge's own; the next cohort finds it. `accepted` holds the scans
that may go on: those that passed, and fresh ones in place of those that did not. `evidence` holds
audit.json and certificate.json: counts and bounds, never a score, a neighbor or an id of a real
scan. Rejected scans go to the vault or nowhere.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medsynth.core.certificate import Certificate
from medsynth.core.digest import json_digest
from medsynth.core.errors import TooFewSubjects, UsageProblem
from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan, load_arrays, store_scan
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from privacy import vault as vaults
from privacy.access import Access
from privacy.folds import RealFolds
from privacy.judgment import Judgment, judge_cohort
from privacy.policy import Policy
from privacy.screen.decide import Screen
from privacy.self_test.run import Bench, num_null_queries, num_queries
from privacy.self_test.stage import self_test_stage
from privacy.verdict import certify

AUDIT_FILE = "audit.json"
CERTIFICATE_FILE = "certificate.json"


@dataclass(frozen=True)
class Audit:
    """What an audit leaves: the accepted cohort, the evidence about it, the certificate."""

    accepted: Artifact
    evidence: Artifact
    certificate: Certificate

    @property
    def summary(self) -> dict[str, Any]:
        """The audit output of CONTRACTS.md."""
        found: dict[str, Any] = json.loads((self.evidence.path / AUDIT_FILE).read_text())
        return found


def audit(
    cohort: Artifact,
    real: RealFolds,
    out: Path,
    keys: Keys,
    policy: Policy,
    *,
    access: Access,
    model_digest: str | None,
    folds_digest: str,
    seed: int = 0,
    vault: Path | None = None,
    progress: Progress = silent,
) -> Audit:
    """Judge a cohort under a policy; both stages are found, not run, when nothing changed."""
    if keys.is_demo and not policy.allows_demo_keys:
        raise UsageProblem(
            f"the policy {policy.name} needs keys of your own, got the published demo keys: "
            "run `medsynth keys init`"
        )
    if vault is not None:
        vaults.sweep(vault)
    manifest = Manifest.read(cohort.path)
    _check(manifest, real)
    case = _Case(cohort, manifest, real, keys, policy, model_digest, folds_digest, vault)

    tick = _Ticker(progress)

    def calibrate(folds: RealFolds, seed: int) -> Screen:
        return Screen.calibrate(folds, policy.alpha, access.round_trip, tick, seed)

    bench = Bench(real, policy, access, access.redream, calibrate, tick)

    @cache
    def screen() -> Screen:
        tick.expect(num_null_queries(real, access))
        return calibrate(real, 0)

    def tested() -> Screen:
        tick.expect(num_queries(bench))
        return screen()

    @cache
    def judgment() -> Judgment:
        _, found = self_test_stage(
            out, bench, tested, folds_digest=folds_digest, model_digest=model_digest
        )
        tick.expect(len(manifest) + (0 if real.test is None else len(real.test.volumes)))
        return judge_cohort(
            load_arrays(cohort.path, manifest).astype(np.float32),
            [scan.attributes for scan in manifest],
            real,
            policy,
            screen=screen(),
            tested=found,
            access=access,
            schema=manifest.schema,
            seed=seed,
            tick=tick,
        )

    given = access.given
    accepted = produce(out, case.request("accepted", given, seed), case.accept(judgment))
    config = {**given, "accepted": accepted.digest, "signer": keys.public_key}
    evidence = produce(
        out, case.request("evidence", config, seed), case.testify(judgment, accepted, given)
    )
    certificate = Certificate.read(evidence.path / CERTIFICATE_FILE)
    return Audit(accepted, evidence, certificate)


@dataclass
class _Ticker:
    """Shows queries done of those known to come; the sum grows with what must run."""

    progress: Progress
    done: int = 0
    total: int = 0

    def expect(self, count: int) -> None:
        self.total += count

    def __call__(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        self.progress(self.done, self.total)


def _check(manifest: Manifest, real: RealFolds) -> None:
    if not len(manifest):
        raise TooFewSubjects("a cohort must hold synthetic scans; this one is empty")
    shapes = {scan.shape for scan in manifest}
    if shapes != {real.shape}:
        raise UsageProblem(
            f"synthetic scans must have the shape of the real ones, {real.shape}, "
            f"got {sorted(shapes)}: prepare both on one grid"
        )


@dataclass(frozen=True)
class _Case:
    """What is judged, against whom, under which policy, signed by whom."""

    cohort: Artifact
    manifest: Manifest
    real: RealFolds
    keys: Keys
    policy: Policy
    model_digest: str | None
    folds_digest: str
    vault: Path | None

    def request(self, stage: str, config: Mapping[str, Any], seed: int) -> Request:
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
            self.manifest.keep(scans).write(folder)
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
        self, judgment: Callable[[], Judgment], accepted: Artifact, given: Mapping[str, bool]
    ) -> Callable[[Path], None]:
        """Writes audit.json and the signed certificate."""

        def build(folder: Path) -> None:
            judged = judgment()
            found = self._summary(judged)
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
                },
                counts={name: found[name] for name in ("num_synthetic", "num_rejected")},
                subjects=self._subjects(judged),
                screen=_screen_terms(judged, self.policy, given),
            ).write(folder / CERTIFICATE_FILE)

        return build

    def _summary(self, judged: Judgment) -> dict[str, Any]:
        return {
            "verdict": judged.verdict.word,
            "policy": self.policy.name,
            "scope": self.policy.scope,
            "num_synthetic": len(self.manifest),
            "num_rejected": judged.num_rejected,
            "gates": [row.to_json() for row in judged.verdict.rows],
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
