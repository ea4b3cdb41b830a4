"""Consequences of an attempt: success, retry or failure, and a pause if the receiver wants one."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery

from server.domains.webhooks.answers import fault_of, is_success
from server.domains.webhooks.health import Happening
from server.kernel.ports import Answer

# Pauses after the first failure, the second one and so on: about three days in all, as Standard Webhooks recommends.
SCHEDULE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER = 0.2
LONGEST_RETRY_AFTER = timedelta(hours=24)
# The receiver is overloaded: nothing is sent to it for a while.
OVERLOADED = frozenset((429, 502, 504))
GONE = 410
# The longest pause without a Retry-After. One late attempt of one message must not stop all others for hours.
LONGEST_PAUSE = timedelta(minutes=1)
ZERO = timedelta()
# The header by which a receiver refuses one message permanently, as defined by Svix.
ABORT_HEADER, ABORT = "webhook-delivery", "abort-message"

Chance = Callable[[], float]
"""A random number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The consequence of an attempt."""

    status: int
    """The status of the delivery: succeeded, failed, or pending if it is tried again."""
    happening: Happening
    fault: str = ""
    """The cause of the failure in a few words."""
    next_attempt: datetime | None = None
    pause_until: datetime | None = None
    """The end of a pause for this webhook."""


def outcome(answer: Answer, attempt: int, now: datetime, chance: Chance = random.random) -> Outcome:
    """The consequence of the answer to an attempt. The first attempt is 1."""
    if is_success(answer.status_code):
        return Outcome(WebhookDelivery.STATUS_SUCCEEDED, Happening.SUCCESS)
    fault = fault_of(answer)
    if answer.status_code == GONE:
        return Outcome(WebhookDelivery.STATUS_FAILED, Happening.GONE, fault)
    asked = min(_retry_after(answer, now), LONGEST_RETRY_AFTER)
    scheduled = SCHEDULE[attempt - 1] if attempt <= len(SCHEDULE) else ZERO
    pause_until = None
    if answer.status_code in OVERLOADED:
        pause_until = now + _later(asked or min(scheduled, LONGEST_PAUSE), chance, earliest=asked)
    if not scheduled or _is_aborted(answer):
        return Outcome(WebhookDelivery.STATUS_FAILED, Happening.FAILURE, fault, None, pause_until)
    wait = _later(scheduled, chance, earliest=asked)
    return Outcome(WebhookDelivery.STATUS_PENDING, Happening.FAILURE, fault, now + wait, pause_until)


def _later(pause: timedelta, chance: Chance, *, earliest: timedelta) -> timedelta:
    """A pause with jitter, but not shorter than the receiver asked for. In that case jitter is added to its request."""
    jittered = pause * (1 + JITTER * (2 * chance() - 1))
    return jittered if jittered >= earliest else earliest * (1 + JITTER * chance())


def _is_aborted(answer: Answer) -> bool:
    return answer.headers.get(ABORT_HEADER, "").strip().lower() == ABORT


def _retry_after(answer: Answer, now: datetime) -> timedelta:
    """The pause that the receiver asks for, in seconds or up to a date; zero without a request."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), LONGEST_RETRY_AFTER.total_seconds()))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return ZERO
    return max(ZERO, until.replace(tzinfo=until.tzinfo or UTC) - now)
