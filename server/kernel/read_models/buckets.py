"""Buckets: the parts that a period is cut into along the clock of its zone."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

from plinth.types.v1 import series_pb2
from plinth.types.v1.series_pb2 import Bucket

from server.kernel.problems import Violation, broken_rules
from server.kernel.read_models.periods import DAY, Period, next_month
from server.kernel.read_models.zones import first_moment, wall_time

MOST_POINTS = 400
HOUR = timedelta(hours=1)
WEEK_DAYS = 7
# The longest period that each bucket is taken for where the request names none.
_CHOICES = (
    (timedelta(days=3), series_pb2.BUCKET_HOUR),
    (timedelta(days=100), series_pb2.BUCKET_DAY),
    (timedelta(days=700), series_pb2.BUCKET_WEEK),
)


def bucket_for(period: Period, asked: Bucket) -> Bucket:
    """The bucket that a request asks for, or the one that suits the length of the period."""
    if asked != series_pb2.BUCKET_UNSPECIFIED:
        return asked
    length = period.end - period.start
    # A day of 25 hours more does not change the choice.
    return next((bucket for most, bucket in _CHOICES if length <= most + HOUR), series_pb2.BUCKET_MONTH)


def bounds_of(period: Period, bucket: Bucket, field: str = "bucket") -> list[datetime]:
    """The bounds of the buckets, in UTC: the start of each, and last the end of the period.

    Raises RuleViolated for more than 400 buckets.
    """
    bounds = [period.start]
    for bound in _cuts(period, bucket):
        if bound > bounds[-1]:
            if len(bounds) == MOST_POINTS:
                description = f"makes more than {MOST_POINTS} points of this range: take a longer one"
                raise broken_rules([Violation(field, description, "bucket.points")])
            bounds.append(bound)
    return [*bounds, period.end]


def local_start(start: datetime, period: Period, bucket: Bucket) -> str:
    """The start of a bucket on the clock of the zone: a day, or a time with its offset."""
    local = start.astimezone(period.zone)
    is_day = bucket != series_pb2.BUCKET_HOUR and first_moment(local.date(), period.zone) == start
    return local.date().isoformat() if is_day else local.isoformat(timespec="seconds")


def _cuts(period: Period, bucket: Bucket) -> Iterator[datetime]:
    """The bounds between buckets that lie within the period."""
    step = _hours if bucket == series_pb2.BUCKET_HOUR else _days(_NEXT[bucket])
    for moment in step(period):
        if moment >= period.end:
            return
        yield moment


def _hours(period: Period) -> Iterator[datetime]:
    """Whenever the clock shows a whole hour. A change of the clock within an hour makes that one shorter or longer."""
    moment = period.start
    while True:
        wall = wall_time(moment, period.zone)
        into_hour = timedelta(minutes=wall.minute, seconds=wall.second, microseconds=wall.microsecond)
        moment += HOUR - into_hour
        yield moment


def _days(following: Callable[[date], date]) -> Callable[[Period], Iterator[datetime]]:
    def moments(period: Period) -> Iterator[datetime]:
        day = period.start.astimezone(period.zone).date()
        while True:
            day = following(day)
            yield first_moment(day, period.zone).astimezone(UTC)

    return moments


def _next_monday(day: date) -> date:
    return day + (WEEK_DAYS - day.weekday()) * DAY


_NEXT: dict[int, Callable[[date], date]] = {
    series_pb2.BUCKET_DAY: lambda day: day + DAY,
    series_pb2.BUCKET_WEEK: _next_monday,
    series_pb2.BUCKET_MONTH: next_month,
}
