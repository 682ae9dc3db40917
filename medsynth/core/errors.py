"""Our own errors: they exist where a caller acts differently.

Each carries the exit code of the command line and a short machine-readable code.
"""


class MedsynthError(Exception):
    """The message says what must hold, what came and what to do."""

    code = "failed"
    exit_code = 1


class UsageProblem(MedsynthError):
    """The call itself is wrong: a missing table, an unknown option, no keys."""

    code = "usage"
    exit_code = 2


class KeysMissing(UsageProblem):
    """A verb that needs the secrets found none."""

    code = "keys_missing"

    def __init__(self) -> None:
        super().__init__("no keys found: run `medsynth keys init`")


class UnreadableScan(MedsynthError):
    """One input that cannot become a volume: it is counted under `reason`, and the work goes on."""

    code = "unreadable_scan"

    def __init__(self, reason: str) -> None:
        super().__init__(f"scan refused: {reason}")
        self.reason = reason


class StaleInput(MedsynthError):
    """A stage folder whose files no longer match its receipt."""

    code = "stale_input"


class TooFewSubjects(MedsynthError):
    """Not enough usable subjects to go on."""

    code = "too_few_subjects"


class CertificateInvalid(MedsynthError):
    """A certificate whose signature, digests, key or date does not hold."""

    code = "certificate_invalid"


class ReleaseRefused(MedsynthError):
    """The policy does not allow this cohort to leave."""

    code = "release_refused"
    exit_code = 3
