"""SHA256SUMS over every file, and its signature: one changed byte anywhere is found.

`SHA256SUMS.sig` holds `{"public_key", "signature", "receipt_signature"}`, hex: ed25519 over the
bytes of SHA256SUMS, and over the canonical JSON of what the receipt says beyond its list of
files. The receipt is written last, so SHA256SUMS cannot name it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsynth.core.certificate import check_signature
from medsynth.core.digest import canonical_json, file_digest
from medsynth.core.errors import CertificateInvalid
from medsynth.core.keys import Keys
from medsynth.core.stage import RECEIPT

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
_UNLISTED = (SUMS, SIGNATURE, RECEIPT)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS, in the form that `sha256sum -c` reads."""
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder).items()]
    (folder / SUMS).write_text("".join(lines))


def sign_sums(folder: Path, receipt: Mapping[str, Any], keys: Keys) -> None:
    """Write the signature of SHA256SUMS and of the receipt that is to come."""
    fields = {
        "public_key": keys.public_key,
        "signature": keys.sign((folder / SUMS).read_bytes()),
        "receipt_signature": keys.sign(canonical_json(_essence(receipt))),
    }
    (folder / SIGNATURE).write_text(_as_text(fields))


def find_changed_files(folder: Path) -> list[str]:
    """What the folder holds otherwise than SHA256SUMS says, a sentence each."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return [f"{SUMS} is missing or unreadable"]
    found = _digests(folder)
    problems = [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
    problems += [f"{name} is not listed" for name in sorted(found.keys() - listed.keys())]
    both = sorted(listed.keys() & found.keys())
    return problems + [f"{name} was changed" for name in both if listed[name] != found[name]]


def find_forged_signature(folder: Path) -> tuple[str, list[str]]:
    """The public key that the release names, and what does not hold of its signatures."""
    try:
        text = (folder / SIGNATURE).read_text()
        fields = json.loads(text)
        public_key, signature = str(fields["public_key"]), str(fields["signature"])
        receipt_signature = str(fields["receipt_signature"])
        is_tidy = text == _as_text(fields) and len(fields) == 3
        sums = (folder / SUMS).read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        return "", [f"{SIGNATURE} is missing or unreadable"]
    problems = [] if is_tidy else [f"{SIGNATURE} was changed"]
    try:
        check_signature(sums, public_key, signature)
    except CertificateInvalid:
        problems.append(f"{SUMS} was changed, or somebody else signed it")
    return public_key, problems + _receipt_problems(folder, public_key, receipt_signature)


def _receipt_problems(folder: Path, public_key: str, signature: str) -> list[str]:
    try:
        text = (folder / RECEIPT).read_text()
        receipt = json.loads(text)
        check_signature(canonical_json(_essence(receipt)), public_key, signature)
    except (OSError, ValueError, AttributeError, CertificateInvalid):
        return [f"{RECEIPT} was changed or is missing"]
    return [] if text == _as_text(receipt) else [f"{RECEIPT} was changed"]


def _essence(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """A receipt without what follows from the other files."""
    return {name: value for name, value in receipt.items() if name not in ("files", "digest")}


def _as_text(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=1, sort_keys=True) + "\n"


def _digests(folder: Path) -> dict[str, str]:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
    return {name: _digest(folder / name) for name in names if name not in _UNLISTED}


def _digest(path: Path) -> str:
    return "a link, not a file" if path.is_symlink() else file_digest(path)
