"""The release stage: what leaves, which cannot be built without a valid PASS certificate."""

import shutil
from collections.abc import Collection
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from medsynth.core import stage
from medsynth.core.certificate import Certificate
from medsynth.core.digest import file_digest, json_digest
from medsynth.core.errors import MedsynthError, StaleInput
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest
from medsynth.core.stage import Artifact, Request, code_digest, produce
from medsynth.evaluate.metrics import Metric, read_metrics
from medsynth.release.bids import FOLDER, export_bids
from medsynth.release.card import write_pages
from medsynth.release.checksums import sign_sums, write_sums
from medsynth.release.clearance import clear_for_release
from medsynth.release.config import ReleaseConfig
from medsynth.release.templates import templates_digest
from medsynth.release.validators import installed_validators, validate_bids

DEFAULTS = ReleaseConfig()
CERTIFICATE = "certificate.json"
REPORT = "report.html"


def release(
    accepted: Artifact,
    certificate: Path,
    out: Path,
    keys: Keys,
    config: ReleaseConfig = DEFAULTS,
    *,
    evaluation: Artifact | None = None,
    report: Path | None = None,
    trusted: Collection[str] = (),
) -> Artifact:
    """The stage OUT/release; raises ReleaseRefused, and writes nothing, without clearance.

    The certificate must be signed by our own key or by one of the `trusted` public keys.
    """
    cleared = clear_for_release(accepted.path, certificate, trusted={keys.public_key, *trusted})
    manifest, metrics = _measured(accepted, evaluation)
    request = _request(accepted, cleared, keys, config, evaluation, report)

    def build(folder: Path) -> None:
        _empty(folder)
        model = str(cleared.body["digests"].get("model") or "unknown")
        exported = export_bids(folder, accepted.path, manifest, config, model=model)
        exported.write(folder)
        write_pages(folder, exported, cleared, metrics, config)
        cleared.write(folder / CERTIFICATE)
        if report is not None:
            shutil.copyfile(report, folder / REPORT)
        _check(folder)
        write_sums(folder)
        sign_sums(folder, _receipt_to_come(request), keys)

    return produce(out, request, build)


def _measured(
    accepted: Artifact, evaluation: Artifact | None
) -> tuple[Manifest, dict[str, Metric]]:
    """The accepted scans, with what an evaluation of these very scans read off them."""
    manifest = Manifest.read(accepted.path)
    if evaluation is None:
        return manifest, {}
    read = Manifest.read(evaluation.path)
    if read.root != manifest.root:
        raise StaleInput("the evaluation must be of the accepted cohort; run evaluate again")
    return read, read_metrics(evaluation.path)


def _request(
    accepted: Artifact,
    certificate: Certificate,
    keys: Keys,
    config: ReleaseConfig,
    evaluation: Artifact | None,
    report: Path | None,
) -> Request:
    parents = {"accepted": accepted.digest, "certificate": certificate.digest}
    if evaluation is not None:
        parents["evaluation"] = evaluation.digest
    if report is not None:
        parents["report"] = file_digest(report)
    return Request(
        stage="release",
        parents=parents,
        config=config.model_dump(mode="json") | {"validators": installed_validators()},
        code=json_digest([code_digest("medsynth.release"), templates_digest()]),
        key_fingerprint=key_fingerprint(keys.public_key),
    )


def key_fingerprint(public_key: str) -> str:
    """A short name of a public key, for people to compare."""
    return json_digest({"ed25519": public_key})[:16]


def _receipt_to_come(request: Request) -> dict[str, object]:
    return {"format": stage.FORMAT, "version": version("medsynth"), **asdict(request)}


def _empty(folder: Path) -> None:
    """Remove what a killed run left: a release holds nothing that was not just written."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check(folder: Path) -> None:
    complaints = validate_bids(folder / FOLDER)
    if complaints:
        raise MedsynthError(
            f"the BIDS validator must not complain, it says {', '.join(complaints)}"
        )
