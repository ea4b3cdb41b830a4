"""How often a job is tried, and when again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.kernel.jobs import NEVER_AGAIN, Retry
from server.workers.adapter import RetryStrategy

NOW = datetime(2026, 7, 1, tzinfo=UTC)


class Queued:
    """A job in the queue, as far as retries look at it."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts


def test_pauses_double_up_to_the_longest_and_end() -> None:
    retry = Retry(attempts=6, first_pause=5.0, longest_pause=30.0)
    assert [retry.pause(n, lambda: 0.0) for n in range(1, 7)] == [5.0, 10.0, 20.0, 30.0, 30.0, None]
    assert NEVER_AGAIN.pause(1) is None


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_jitter_takes_up_to_half(chance: float) -> None:
    assert Retry(first_pause=8.0).pause(1, lambda: chance) == 8.0 * (1 - chance / 2)


def test_a_great_many_failures_are_no_error() -> None:
    assert Retry(attempts=10**6, longest_pause=60.0).pause(10**5, lambda: 0.0) == 60.0


@pytest.mark.parametrize(("before", "again"), [(0, True), (1, True), (2, False)])
def test_the_attempts_before_count(before: int, again: bool) -> None:  # noqa: FBT001 - the expectation
    strategy = RetryStrategy(Retry(attempts=3, first_pause=10.0), lambda: NOW)
    job: Any = Queued(before)
    decision = strategy.get_retry_decision(exception=OSError(), job=job)
    assert (decision is not None) == again
    if decision is not None and decision.retry_at is not None:
        pause = 10.0 * 2**before
        assert timedelta(seconds=pause / 2) <= decision.retry_at - NOW <= timedelta(seconds=pause)
