"""What becomes of a push by the answer of its service (RFC 8030, and what services send in practice)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.domains.notifications.delivery_queue import FAILED, RETRYING, SENT, UNCERTAIN
from server.kernel.egress import NOT_ALLOWED
from server.kernel.ports import Answer

GONE, REFUSED, EXHAUSTED = "GONE", "REFUSED", "EXHAUSTED"
NOT_FOUND, IS_GONE, TOO_MANY = 404, 410, 429
SUCCESS, FAULT_OF_SERVICE = range(200, 300), range(500, 600)
# Nothing was sent: there was no connection.
UNSENT = frozenset(("the name does not resolve", "connection refused", "no connection", "the certificate is not valid"))
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, 3600, 7200))
JITTER = 0.2
LONGEST_RETRY_AFTER = 3600.0
LONGEST_NUMBER = 10

Chance = Callable[[], float]
"""A random number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer says of one attempt."""

    state: int
    """SENT, FAILED, UNCERTAIN, or RETRYING."""
    reason: str = ""
    retry_after: float = 0.0
    """Seconds that the service asks for."""


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """What follows from it."""

    state: int
    reason: str = ""
    again: datetime | None = None


def verdict_of(answer: Answer) -> Verdict:
    """What the answer of a service of Web Push says."""
    status = answer.status_code
    if status in SUCCESS:
        return Verdict(SENT)
    if status in (NOT_FOUND, IS_GONE):
        return Verdict(FAILED, GONE)
    if status == TOO_MANY or status in FAULT_OF_SERVICE or (not status and answer.error in UNSENT):
        return Verdict(RETRYING, retry_after=_retry_after(answer))
    if not status and answer.error != NOT_ALLOWED:
        return Verdict(UNCERTAIN)
    return Verdict(FAILED, REFUSED)


def outcome_of(verdict: Verdict, attempts: int, now: datetime, chance: Chance) -> PushOutcome:
    """What follows from an attempt; `attempts` are those before."""
    if verdict.state != RETRYING:
        return PushOutcome(verdict.state, verdict.reason)
    if attempts >= len(PAUSES):
        return PushOutcome(FAILED, EXHAUSTED)
    asked = timedelta(seconds=min(verdict.retry_after, LONGEST_RETRY_AFTER))
    return PushOutcome(RETRYING, again=now + max(PAUSES[attempts], asked) * (1 + JITTER * chance()))


def _retry_after(answer: Answer) -> float:
    """What the service asks for, in seconds: services of push send no dates."""
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() and len(asked) < LONGEST_NUMBER else 0.0
