"""Whether a cohort may leave: every reason against it, in plain words."""

from collections.abc import Collection
from pathlib import Path

from medsynth.core.certificate import Certificate
from medsynth.core.digest import scan_digest
from medsynth.core.errors import CertificateInvalid, ReleaseRefused
from medsynth.core.manifest import Manifest, load_scan


def clear_for_release(
    accepted: Path, certificate: Path, *, trusted: Collection[str]
) -> Certificate:
    """The certificate that lets these accepted scans leave; raises ReleaseRefused without one."""
    try:
        found = Certificate.read(certificate)
        found.check(trusted=trusted)
    except CertificateInvalid as error:
        raise ReleaseRefused(f"release refused: {error}") from None
    _check_body(found)
    manifest = Manifest.read(accepted)
    if found.body["digests"].get("cohort") != manifest.root:
        raise ReleaseRefused(
            "release refused: the certificate is for another cohort; audit this one"
        )
    _check_voxels(accepted, manifest)
    return found


def _check_body(certificate: Certificate) -> None:
    if certificate.verdict != "PASS":
        raise ReleaseRefused(
            f"release refused: the verdict must be PASS, it is {certificate.verdict}"
        )
    if certificate.is_demo and certificate.body["policy"].get("name") != "demo":
        raise ReleaseRefused(
            "release refused: the published demo keys sign for the policy demo alone; "
            "run `medsynth keys init` and audit again"
        )


def _check_voxels(accepted: Path, manifest: Manifest) -> None:
    for scan in manifest:
        try:
            volume = load_scan(accepted, scan)
            is_same = scan_digest(volume.array[0], volume.geometry.affine) == scan.digest
        except (OSError, ValueError):
            is_same = False
        if not is_same:
            raise ReleaseRefused(
                f"release refused: the voxels of {scan.scan_id} are not those that were audited"
            )
