"""What follows from an answer, as pure code."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery

from server.domains.webhooks.health import Happening
from server.domains.webhooks.outcomes import SCHEDULE, outcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PENDING, SUCCEEDED, FAILED = (
    *(WebhookDelivery.STATUS_PENDING, WebhookDelivery.STATUS_SUCCEEDED, WebhookDelivery.STATUS_FAILED),
)
LAST = len(SCHEDULE) + 1
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Answered:
    status_code: int = 0
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    duration: timedelta = timedelta()


def middle() -> float:
    """No jitter."""
    return 0.5


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_success(status: int) -> None:
    found = outcome(Answered(status), LAST, NOW)
    assert (found.status, found.happening, found.next_attempt, found.fault) == (SUCCEEDED, Happening.SUCCESS, None, "")


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 304, 400, 401, 404, 408, 500, 503, 599])
def test_every_other_status_is_tried_again(status: int) -> None:
    found = outcome(Answered(status), 1, NOW, middle)
    assert (found.status, found.happening, found.pause_until) == (PENDING, Happening.FAILURE, None)
    assert (found.next_attempt, found.fault) == (NOW + timedelta(seconds=5), f"status {status}")


def test_no_answer_is_tried_again() -> None:
    found = outcome(Answered(error="timeout"), 1, NOW, middle)
    assert (found.status, found.fault) == (PENDING, "timeout")


def test_the_schedule_takes_three_days_and_ends() -> None:
    waits = []
    for attempt in range(1, LAST):
        found = outcome(Answered(500), attempt, NOW, middle)
        assert found.next_attempt is not None
        waits.append(found.next_attempt - NOW)
    assert tuple(waits) == SCHEDULE
    assert 3 * DAY < sum(waits, timedelta()) < 3.5 * DAY
    last = outcome(Answered(500), LAST, NOW, middle)
    assert (last.status, last.next_attempt, last.fault) == (FAILED, None, "status 500")


@given(st.integers(1, LAST - 1), st.floats(0, 1))
def test_jitter_stays_within_a_fifth(attempt: int, chance: float) -> None:
    found = outcome(Answered(500), attempt, NOW, lambda: chance)
    assert found.next_attempt is not None
    assert abs((found.next_attempt - NOW) / SCHEDULE[attempt - 1] - 1) <= 0.2001


def test_410_ends_it() -> None:
    found = outcome(Answered(410), 1, NOW)
    assert (found.status, found.happening, found.next_attempt) == (FAILED, Happening.GONE, None)


@pytest.mark.parametrize("value", ["abort-message", " Abort-Message "])
def test_a_receiver_can_refuse_a_message_for_good(value: str) -> None:
    found = outcome(Answered(500, headers={"webhook-delivery": value}), 1, NOW)
    assert (found.status, found.happening, found.next_attempt) == (FAILED, Happening.FAILURE, None)
    assert outcome(Answered(200, headers={"webhook-delivery": value}), 1, NOW).status == SUCCEEDED


@given(st.integers(1, LAST - 1), st.integers(0, 10**12), st.sampled_from((429, 500, 503)), st.floats(0, 1))
def test_retry_after_is_a_minimum_up_to_a_day(attempt: int, seconds: int, status: int, chance: float) -> None:
    found = outcome(Answered(status, headers={"retry-after": str(seconds)}), attempt, NOW, lambda: chance)
    plain = outcome(Answered(status), attempt, NOW, lambda: chance)
    assert found.next_attempt is not None
    assert plain.next_attempt is not None
    asked = min(timedelta(seconds=min(seconds, 10**6)), DAY)
    assert found.next_attempt - NOW >= max(asked, plain.next_attempt - NOW)
    assert found.next_attempt - NOW <= 1.2001 * DAY


def test_retry_after_as_a_date() -> None:
    date = format_datetime(NOW + timedelta(minutes=7), usegmt=True)
    found = outcome(Answered(503, headers={"retry-after": date}), 1, NOW, lambda: 0.0)
    assert found.next_attempt == NOW + timedelta(minutes=7)


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1.5", "\u0661", "Mon, 99 Foo 2026", format_datetime(NOW - DAY, usegmt=True), "9" * 500]
)
def test_a_retry_after_that_says_nothing_new_changes_nothing(value: str) -> None:
    found = outcome(Answered(503, headers={"retry-after": value}), LAST - 1, NOW, middle)
    assert found.next_attempt == NOW + SCHEDULE[-1]


@pytest.mark.parametrize("status", [429, 502, 504])
def test_an_overloaded_receiver_gets_a_pause(status: int) -> None:
    first, late = (outcome(Answered(status), attempt, NOW, middle) for attempt in (1, LAST - 1))
    assert first.pause_until == first.next_attempt == NOW + timedelta(seconds=5)
    # One message that fails for days does not stop all others for hours.
    assert late.pause_until == NOW + timedelta(minutes=1)
    asked = outcome(Answered(status, headers={"retry-after": "600"}), LAST, NOW, middle)
    assert (asked.status, asked.pause_until) == (FAILED, NOW + timedelta(minutes=10))
