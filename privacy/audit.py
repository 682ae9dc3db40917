"""The audit: a cohort in, its accepted part and a signed verdict out.

Four stages. `self_test` is the judge's own; the next cohort finds it. `accepted` holds the scans
that may go on: those that passed, and fresh ones in place of those that did not. `evidence` holds
audit.json and certificate.json: counts and bounds, never a score, a neighbor or an id of a real
scan. `shown` holds the views (scans made to be compared) that passed the same screen, where any
were given. Rejected scans go to the vault, rejected views nowhere. The ledger knows of every
cohort that was judged; what left before of the same generator is judged again, beside what may
leave now.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medsynth.core.certificate import Certificate
from medsynth.core.errors import TooFewSubjects, UsageProblem
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import Artifact, Progress, produce, silent
from privacy import vault as vaults
from privacy.access import Access
from privacy.case import AUDIT_FILE, CERTIFICATE_FILE, Case, Span
from privacy.folds import Fold, RealFolds
from privacy.judgment import Judgment, judge_cohort
from privacy.past import Past
from privacy.policy import Policy
from privacy.screen.decide import Screen
from privacy.self_test.run import Bench, num_null_queries, num_queries
from privacy.self_test.stage import self_test_stage
from privacy.shown import show

UNKNOWN = Span()


@dataclass(frozen=True)
class Audit:
    """What an audit leaves: the accepted cohort, the evidence about it, the certificate.

    `shown` are the views that may be looked at, where any were given.
    """

    accepted: Artifact
    evidence: Artifact
    certificate: Certificate
    shown: Artifact | None = None

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
    ledger: Path,
    span: Span = UNKNOWN,
    earlier: Iterable[Path] = (),
    seed: int = 0,
    vault: Path | None = None,
    views: Artifact | None = None,
    progress: Progress = silent,
) -> Audit:
    """Judge a cohort under a policy; both stages are found, not run, when nothing changed.

    `ledger` is the data set's record of what was judged; scans that left before of the same
    generator are judged beside these, from where their audits put them or from `earlier`. `views`
    pass the same screen, and are no part of the verdict.
    """
    if keys.is_demo and not policy.allows_demo_keys:
        raise UsageProblem(
            f"the policy {policy.name} needs keys of your own, got the published demo keys: "
            "run `medsynth keys init`"
        )
    if vault is not None:
        vaults.sweep(vault)
    manifest = Manifest.read(cohort.path)
    _check(manifest, real)
    if views is not None:
        _check_shapes(Manifest.read(views.path), real)
    case = Case(
        cohort, manifest, real, keys, policy, model_digest, folds_digest, span, out, ledger, vault
    )
    past = case.past(earlier)
    trial = _Trial(case, access, past, seed, _Ticker(progress))
    config = {**access.given, "beside": past.digest}
    accepted = produce(out, case.request("accepted", config, seed), case.accept(trial.judge))
    config = {**config, "accepted": accepted.digest, "signer": keys.public_key}
    testify = case.testify(trial.judge, accepted, access.given, past)
    evidence = produce(out, case.request("evidence", config, seed), testify)
    certificate = Certificate.read(evidence.path / CERTIFICATE_FILE)
    # Again, for a ledger that was lost after the evidence was written.
    case.record(certificate.verdict, accepted)
    shown = None if views is None else trial.show(views)
    return Audit(accepted, evidence, certificate, shown)


@dataclass(frozen=True)
class _Trial:
    """A case with its screen and its judgment, each made once and only when it is asked for."""

    case: Case
    access: Access
    past: Past
    seed: int
    tick: "_Ticker"

    def judge(self) -> Judgment:
        """The judgment."""
        return self._judgment

    def show(self, views: Artifact) -> Artifact:
        """The stage "shown": found where neither views nor screen changed, whatever the cohort."""
        given = {"round_trip": self.access.given["round_trip"]}
        request = self.case.request("shown", given, self.seed)
        parents = {**request.parents, "views": views.digest}
        del parents["cohort"]

        def build(folder: Path) -> None:
            self.tick.expect(len(Manifest.read(views.path)))
            show(folder, views, self._screen, self.seed, self.tick)

        return produce(self.case.out, replace(request, parents=parents), build)

    @cached_property
    def _judgment(self) -> Judgment:
        case, real = self.case, self.case.real
        bench = Bench(
            real, case.policy, self.access, self.access.redream, self._calibrate, self.tick
        )
        _, found = self_test_stage(
            case.out,
            bench,
            lambda: self._tested(bench),
            folds_digest=case.folds_digest,
            model_digest=case.model_digest,
        )
        beside = self.past.load(real.shape, case.manifest)
        fresh = {name: case.spend(name) for name in ("calibration", "test")}
        test = _keep(real.test, fresh["test"])
        num_test = 0 if test is None else len(test.volumes)
        self.tick.expect(len(case.manifest) + len(beside.volumes) + num_test)
        judged = judge_cohort(
            load_arrays(case.cohort.path, case.manifest).astype(np.float32),
            [scan.attributes for scan in case.manifest],
            replace(real, test=test),
            case.policy,
            screen=self._screen,
            tested=found,
            access=self.access,
            beside=beside,
            schema=case.manifest.schema,
            seed=self.seed,
            tick=self.tick,
        )
        return replace(judged, num_fresh={name: len(numbers) for name, numbers in fresh.items()})

    @cached_property
    def _screen(self) -> Screen:
        self.tick.expect(num_null_queries(self.case.real, self.access))
        return self._calibrate(self.case.real, 0)

    def _tested(self, bench: Bench) -> Screen:
        self.tick.expect(num_queries(bench))
        return self._screen

    def _calibrate(self, folds: RealFolds, seed: int) -> Screen:
        return Screen.calibrate(
            folds, self.case.policy.alpha, self.access.round_trip, self.tick, seed
        )


def _keep(fold: Fold | None, numbers: Collection[int]) -> Fold | None:
    """The scans of some subjects; None where nobody is left."""
    if fold is None or not numbers:
        return None
    rows = np.isin(fold.subjects, [*numbers])
    known = tuple(row for row, is_in in zip(fold.attributes, rows, strict=False) if is_in)
    return Fold(fold.volumes[rows], fold.subjects[rows], known)


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
    _check_shapes(manifest, real)


def _check_shapes(manifest: Manifest, real: RealFolds) -> None:
    shapes = {scan.shape for scan in manifest}
    if shapes - {real.shape}:
        raise UsageProblem(
            f"synthetic scans must have the shape of the real ones, {real.shape}, "
            f"got {sorted(shapes)}: prepare both on one grid"
        )
