"""Pace: how many mails and pushes a person gets in a while, and when the next one may go out.

The generic cell rate algorithm (ITU-T I.371): each delivery fills a bucket, which empties in time. When it is full, a
window opens until there is room again, and all that comes meanwhile goes out together at its end, for the price of one.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from server.kernel.rates import Rate


class Pace(NamedTuple):
    """How much a person was sent lately on one channel."""

    empty_time: datetime | None = None
    """When the bucket is empty."""
    open_time: datetime | None = None
    """Until when a window is open."""


def paced(pace: Pace, rate: Rate, now: datetime) -> tuple[Pace, datetime]:
    """The pace with one more delivery, and when that may go out."""
    if pace.open_time is not None and pace.open_time > now:
        return pace, pace.open_time
    empty = max(pace.empty_time or now, now) + timedelta(seconds=rate.interval)
    leaves = empty - timedelta(seconds=rate.period)
    if leaves <= now:
        return Pace(empty), now
    return Pace(empty, leaves), leaves
