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
LONGEST_RETRY_AFTER = timedelta(hours=1)
LONGEST_NUMBER = 10

Chance = Callable[[], float]
"""A random number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """What follows from an answer."""

    state: int
    reason: str = ""
    again: datetime | None = None


def outcome_of(answer: Answer, attempts: int, now: datetime, chance: Chance) -> PushOutcome:
    """What follows from the answer to an attempt; `attempts` are those before."""
    status = answer.status_code
    if status in SUCCESS:
        return PushOutcome(SENT)
    if status in (NOT_FOUND, IS_GONE):
        return PushOutcome(FAILED, GONE)
    if status == TOO_MANY or status in FAULT_OF_SERVICE or (not status and answer.error in UNSENT):
        if attempts >= len(PAUSES):
            return PushOutcome(FAILED, EXHAUSTED)
        pause = max(PAUSES[attempts], _retry_after(answer))
        return PushOutcome(RETRYING, "", now + pause * (1 + JITTER * chance()))
    if not status and answer.error != NOT_ALLOWED:
        return PushOutcome(UNCERTAIN)
    return PushOutcome(FAILED, REFUSED)


def _retry_after(answer: Answer) -> timedelta:
    """What the service asks for, in seconds: services of push send no dates."""
    asked = answer.headers.get("retry-after", "")
    return (
        min(timedelta(seconds=int(asked)), LONGEST_RETRY_AFTER)
        if asked.isdecimal() and len(asked) < LONGEST_NUMBER
        else timedelta()
    )
