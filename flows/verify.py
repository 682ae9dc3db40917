"""`medsynth verify`: what anyone can check of a release; no Prefect, no MLflow, no private data."""

import json
from pathlib import Path

from flows.answer import DONE, FAILED, Answer
from medsynth.core.errors import CertificateInvalid, UsageProblem
from medsynth.release.verify import Verification, verify
from privacy.verdict import recompute


def verify_answer(release: Path, trusted_key: Path | None) -> Answer:
    """Digests, signatures, and the verdict anew from the certificate's own gate rows."""
    trusted = None if trusted_key is None else [read_public_key(trusted_key)]
    found = verify(release, trusted=trusted)
    problems = [*found.problems, *_verdict_problems(found)]
    fields = {
        "ok": not problems,
        "problems": problems,
        "verdict": found.verdict,
        "fingerprint": found.fingerprint,
        "is_trusted": found.is_trusted,
        "num_files": found.num_files,
    }
    if problems:
        fields["error"] = {"code": "release_invalid", "message": "; ".join(problems)}
    return Answer(
        out=None,
        fields=fields,
        exit_code=FAILED if problems else DONE,
        lines=_lines(found, problems),
    )


def read_public_key(path: Path) -> str:
    """An ed25519 public key in hex, alone in a file or as `public_key` of a JSON object."""
    try:
        text = path.read_text().strip()
        key = str(json.loads(text)["public_key"]) if text.startswith("{") else text
        is_key = len(bytes.fromhex(key)) == 32
    except (OSError, ValueError, KeyError):
        is_key = False
    if not is_key:
        raise UsageProblem("the trusted key must be a file with 64 hex digits; it is not")
    return key


def _verdict_problems(found: Verification) -> list[str]:
    if not found.certificate_body:
        return []
    try:
        recompute(found.certificate_body)
    except CertificateInvalid as error:
        return [str(error)]
    return []


def _lines(found: Verification, problems: list[str]) -> tuple[str, ...]:
    state = "valid" if not problems else "NOT valid"
    trust = "trusted" if found.is_trusted else "not trusted: compare it with the sender's"
    return (
        f"release {state}: {found.num_files} files, verdict {found.verdict}",
        f"signed by {found.fingerprint} ({trust})",
        *(f"problem: {problem}" for problem in problems),
    )
