"""The verdict: PASS, FAIL or INCONCLUSIVE with every reason, and the certificate that signs it.

FAIL if any gate fails, PASS if all pass, else INCONCLUSIVE. No correction for many gates is needed:
a false PASS must slip through every one (Berger, intersection-union tests, Technometrics 1982).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from medsynth.core.certificate import FORMAT, Certificate, sign_certificate
from medsynth.core.certificate import Verdict as Word
from medsynth.core.errors import CertificateInvalid
from medsynth.core.keys import Keys
from privacy.evidence import GateRow
from privacy.gates.every import judged_again, row_keys
from privacy.policy import Policy

_NEVER_SHOWN = (
    "what attacks that nobody has thought of would show",
    "another population than that of the calibration fold, or the same after a change of site",
    "elastic copies of two pixels and more, or other scans of the same subject",
    "single slices of three-dimensional scans: volumes are compared by slabs along their axes",
    "linkage with data that may appear later",
    "that people who share the attributes asked for differ in their others (l-diversity)",
    "that the generator or its unscreened samples are safe: screening mends no memorizing model",
)
_SECTIONS = {
    "screen_power_hard": "partial copies, blends of equal parts, strong crops",
    "consistency": "that another detector of the same kind would flag the same scans",
    "copying": "that the cohort as a whole lies no closer to members than fresh people do",
    "extraction": "extraction of members by targeted queries",
    "membership": "membership inference by somebody who holds the weights",
    "attributes": "what the exported table gives away of single people",
    "canary": "what a twin of the generator remembers of planted scans",
    "differential_privacy": "a bound that holds whatever the attack (differential privacy)",
}


_ATTACKERS = {
    "T1": "T1: whoever holds the accepted scans and their table",
    "T2": "T2: who may also ask the generator for as many scans as wanted",
    "T3": "T3: who holds the generator's weights",
}


def does_not_show(policy: Policy, rows: Sequence[GateRow] = ()) -> tuple[str, ...]:
    """What a certificate says nothing about: not asked by its policy, not run, never shown."""
    unasked = [said for name, said in _SECTIONS.items() if getattr(policy, name) is None]
    kinds: dict[str, list[str]] = {}
    for row in rows:
        if row.result == "NOT_RUN":
            kinds.setdefault(row.gate, []).append(row.kind)
    missing = [f"{_SECTIONS.get(gate, gate)} ({', '.join(of)})" for gate, of in kinds.items()]
    return (
        *(f"not asked by this policy: {said}" for said in unasked),
        *(f"not run: {said}" for said in missing),
        *_NEVER_SHOWN,
    )


def threat_model(policy: Policy) -> str:
    """Against whom a policy asks for evidence, in the words of privacy/README.md."""
    asks_weights = policy.membership is not None or policy.canary is not None
    named = {"T1": True, "T2": policy.extraction is not None, "T3": asks_weights}
    return "; ".join(_ATTACKERS[name] for name, is_named in named.items() if is_named)


@dataclass(frozen=True)
class Verdict:
    """The word and the rows that led to it."""

    word: Word
    rows: tuple[GateRow, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not a PASS; the rows' own words."""
        return tuple(row.reason for row in self.rows if row.result != "PASS")


def conclude(rows: Sequence[GateRow]) -> Verdict:
    """The verdict of all gates together."""
    results = {row.result for row in rows}
    if "FAIL" in results:
        return Verdict("FAIL", tuple(rows))
    return Verdict("PASS" if results == {"PASS"} else "INCONCLUSIVE", tuple(rows))


def recompute(body: Mapping[str, Any]) -> Verdict:
    """The verdict anew from a certificate's rows and the policy it carries.

    Raises CertificateInvalid where a stored result, the verdict or the policy's digest differs.
    """
    try:
        policy = Policy.model_validate(body["policy"]["terms"])
        rows = [GateRow(**row) for row in body["gates"]]
        num_missing = int(body["subjects"]["calibration_missing"])
    except (KeyError, TypeError, ValueError):
        raise CertificateInvalid(
            "the certificate must hold its gates and policy; it does not"
        ) from None
    if policy.digest != body["policy"]["digest"]:
        raise CertificateInvalid("the certificate's policy must match its digest; it does not")
    if {(row.gate, row.kind) for row in rows} != row_keys(policy) or len(rows) != len(
        row_keys(policy)
    ):
        raise CertificateInvalid("the certificate must hold one row for every gate; it does not")
    verdict = conclude([judged_again(row, policy, num_missing) for row in rows])
    if verdict.word != body["verdict"] or verdict.rows != tuple(rows):
        raise CertificateInvalid("the certificate's verdict does not follow from its gates")
    return verdict


def certify(
    verdict: Verdict,
    policy: Policy,
    keys: Keys,
    *,
    digests: Mapping[str, str | None],
    counts: Mapping[str, int],
    subjects: Mapping[str, int],
    screen: Mapping[str, Any],
    ledger: Mapping[str, int],
) -> Certificate:
    """Sign the verdict with what it is about, what it does not show, and when it expires."""
    issued = datetime.now(UTC).replace(microsecond=0)
    body = {
        "format": FORMAT,
        "verdict": verdict.word,
        "scope": policy.scope,
        "policy": {
            "name": policy.name,
            "digest": policy.digest,
            "terms": policy.model_dump(mode="json"),
        },
        "digests": dict(digests),
        "gates": [row.to_json() for row in verdict.rows],
        "issued": issued.isoformat(),
        "expires": _months_later(issued, policy.valid_months).isoformat(),
        "does_not_show": list(does_not_show(policy, verdict.rows)),
        "threat_model": threat_model(policy),
        "unit": "subject: all scans of one person",
        **counts,
        "subjects": dict(subjects),
        "screen": dict(screen),
        "ledger": dict(ledger),
    }
    return sign_certificate(body, keys)


def _months_later(day: datetime, months: int) -> datetime:
    years, month = divmod(day.month - 1 + months, 12)
    last = 28 if month == 1 else 30
    return day.replace(year=day.year + years, month=month + 1, day=min(day.day, last))
