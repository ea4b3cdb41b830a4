"""Periods of subscriptions: months and years of the calendar, counted from an anchor, in UTC."""

from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime

from plinth.billing.v1.plan_pb2 import Plan

MONTHS: Mapping[int, int] = {Plan.INTERVAL_MONTH: 1, Plan.INTERVAL_YEAR: 12}


def add_months(moment: datetime, months: int) -> datetime:
    """The moment `months` later: on the same day, or on the last day of a month that is shorter."""
    year, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + year, month + 1
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


def next_end(anchor: datetime, interval: int, after: datetime) -> datetime:
    """The end of the period in which a moment lies, or which begins with it."""
    step = MONTHS[interval]
    passed = (after.year - anchor.year) * 12 + after.month - anchor.month
    # At most one whole period before the moment.
    count = max(passed // step, 0)
    while (end := add_months(anchor, count * step)) <= after:
        count += 1
    return end
