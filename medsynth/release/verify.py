"""What anyone can check of a release, without private data and at the speed of hashing."""

import gzip
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medsynth.core.certificate import Certificate
from medsynth.core.digest import scan_digest
from medsynth.core.errors import CertificateInvalid, MedsynthError
from medsynth.core.manifest import Manifest
from medsynth.core.stage import open_stage
from medsynth.release.checksums import find_changed_files, find_forged_signature
from medsynth.release.release import CERTIFICATE, key_fingerprint


@dataclass(frozen=True)
class Verification:
    """What was found; `is_trusted` only where a key that the caller trusts signed."""

    ok: bool
    problems: tuple[str, ...]
    verdict: str | None
    fingerprint: str
    is_trusted: bool
    num_files: int
    certificate_body: Mapping[str, Any] = field(default_factory=dict)


def verify(folder: Path, *, trusted: Collection[str] | None) -> Verification:
    """Check files, signatures, certificate and the cohort's digest; never raises for a bad release.

    `trusted` are public keys, hex; with `None` the signer is named and not trusted.
    """
    public_key, problems = find_forged_signature(folder)
    problems = find_changed_files(folder) + problems
    if not problems:
        problems = _stage_problems(folder)
    is_trusted = trusted is not None and public_key in trusted
    if trusted is not None and not is_trusted:
        problems.append("the release is not signed by a trusted key")
    certificate, found = _check_certificate(folder, trusted)
    problems += found
    if certificate is not None and not problems:
        problems += _cohort_problems(folder, certificate)
    return Verification(
        ok=not problems,
        problems=tuple(problems),
        verdict=certificate.verdict if certificate else None,
        fingerprint=key_fingerprint(public_key) if public_key else "",
        is_trusted=is_trusted,
        num_files=sum(path.is_file() for path in folder.rglob("*")),
        certificate_body=dict(certificate.body) if certificate else {},
    )


def _stage_problems(folder: Path) -> list[str]:
    try:
        open_stage(folder)
    except MedsynthError as error:
        return [str(error)]
    return []


def _check_certificate(
    folder: Path, trusted: Collection[str] | None
) -> tuple[Certificate | None, list[str]]:
    try:
        certificate = Certificate.read(folder / CERTIFICATE)
    except CertificateInvalid as error:
        return None, [str(error)]
    try:
        certificate.check(trusted=trusted)
    except CertificateInvalid as error:
        return certificate, [str(error)]
    except (ValueError, TypeError):
        return certificate, ["the certificate's dates cannot be read"]
    if certificate.verdict != "PASS":
        return certificate, [f"the verdict must be PASS, it is {certificate.verdict}"]
    return certificate, []


def _cohort_problems(folder: Path, certificate: Certificate) -> list[str]:
    """Whether the exported voxels and attributes are those that the certificate was given for."""
    try:
        manifest = Manifest.read(folder)
        changed = [s.scan_id for s in manifest if _exported_digest(folder / s.path) != s.digest]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        return [f"manifest or images cannot be read ({type(error).__name__})"]
    problems = [f"the voxels of {scan_id} are not those of the manifest" for scan_id in changed]
    if manifest.root != certificate.body["digests"].get("cohort"):
        problems.append("the certificate is for another cohort")
    return problems


def _exported_digest(path: Path) -> str:
    image = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    return scan_digest(np.asarray(image.dataobj), image.affine)
