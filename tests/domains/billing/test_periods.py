"""Periods: counted from their anchor, so that none drifts, and each moment lies in one of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plinth.billing.v1.plan_pb2 import Plan

from server.domains.billing.periods import add_months, next_end

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it
INTERVALS = st.sampled_from([Plan.INTERVAL_MONTH, Plan.INTERVAL_YEAR])


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2026-01-31", 2, "2026-03-31"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-12-15", 1, "2027-01-15"),
    ],
)
def test_a_month_is_one_of_the_calendar(start: str, months: int, end: str) -> None:
    assert add_months(datetime.fromisoformat(start), months) == datetime.fromisoformat(end)


@given(MOMENTS, INTERVALS, st.integers(0, 400))
def test_periods_follow_each_other_without_gaps_or_drift(anchor: datetime, interval: int, count: int) -> None:
    months = 1 if interval == Plan.INTERVAL_MONTH else 12
    end = anchor
    for number in range(1, count % 30 + 2):
        end = next_end(anchor, interval, end)
        assert end == add_months(anchor, number * months)


@given(MOMENTS, INTERVALS, st.timedeltas(timedelta(), timedelta(days=20_000)))
def test_every_moment_lies_in_the_period_that_ends_next(anchor: datetime, interval: int, later: timedelta) -> None:
    moment = anchor + later
    end = next_end(anchor, interval, moment)
    months = 1 if interval == Plan.INTERVAL_MONTH else 12
    assert moment < end <= add_months(moment, months)
