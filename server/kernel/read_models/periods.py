"""Periods: the half-open range of time that a request asks for, and the one that it is compared with."""

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from plinth.types.v1.time_range_pb2 import TimeRange

from server.kernel.problems import RuleViolated, Violation, broken_rules
from server.kernel.read_models.zones import first_moment, moment_of, wall_time

DAY = timedelta(days=1)
MONTHS_OF_QUARTER, MONTHS_OF_YEAR = 3, 12
# Beyond these years, a period before or after would leave the calendar.
FIRST_YEAR, LAST_YEAR = 1900, 2199
MOST_DAYS = 3660
"""Ten years: the longest range, unless a read model has a shorter one."""

Point = TypeVar("Point", date, datetime)
Days = tuple[date, date]
"""A range of local days. The second one is the day after the last."""


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open range of time, in a zone."""

    start: datetime
    """In UTC."""
    end: datetime
    """In UTC; not in the range."""
    zone: ZoneInfo

    @property
    def days(self) -> Days | None:
        """The local days that it consists of; None if it begins or ends within a day."""
        first, last = (moment.astimezone(self.zone).date() for moment in (self.start, self.end))
        are_whole = first_moment(first, self.zone) == self.start and first_moment(last, self.zone) == self.end
        return (first, last) if are_whole else None

    @property
    def shown(self) -> TimeRange:
        """The range as answers show it."""
        found = TimeRange(time_zone=self.zone.key)
        found.start_time.FromDatetime(self.start)
        found.end_time.FromDatetime(self.end)
        return found


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The period that another one is compared with."""

    period: Period
    reason: str = ""
    """Why the two cannot be compared; empty if they can."""


def of_days(days: Days, zone: ZoneInfo) -> Period:
    """The period of local days."""
    return Period(first_moment(days[0], zone), first_moment(days[1], zone), zone)


def period_of(
    asked: TimeRange,
    zone: ZoneInfo,
    now: datetime,
    *,
    default: "TimeRange.Period" = TimeRange.PERIOD_LAST_30_DAYS,
    field: str = "range",
    most_days: int = MOST_DAYS,
) -> Period:
    """The period that a request asks for; `default` if it asks for none.

    Raises RuleViolated, with the path of the field, for what the rules of the .proto cannot tell: a day that the
    calendar lacks, a range that no facts lie in, and one of more than `most_days`.
    """
    if asked.start_date:
        days = _day(asked.start_date, f"{field}.start_date"), _day(asked.end_date, f"{field}.end_date")
        period = of_days(days, zone)
    elif asked.HasField("start_time"):
        period = Period(_moment(asked, "start_time", field), _moment(asked, "end_time", field), zone)
    else:
        today = now.astimezone(zone).date()
        period = of_days(_NAMED[asked.period or default](today), zone)
    if period.end <= period.start:
        # Nothing but a day that the zone has skipped: the .proto compares the ends.
        raise _refused(field, "has no moment in this zone", "time_range.order")
    if period.end - period.start > most_days * DAY:
        raise _refused(field, f"is at most {most_days} days long", "time_range.span")
    return period


def before(period: Period) -> Period:
    """The period before: as many months if it is of whole months, as many days if of whole days, else as long."""
    days = period.days
    if days is None:
        return Period(period.start - (period.end - period.start), period.start, period.zone)
    first, last = days
    months = _whole_months(days)
    start = _months_later(first, -months) if months else first - (last - first)
    return of_days((start, first), period.zone)


def counterpart(period: Period, now: datetime) -> Counterpart:
    """The period to compare with. While a period lasts, it is the part of the one before that had passed by then."""
    whole = before(period)
    if now >= period.end:
        return Counterpart(whole)
    if now <= period.start:
        return Counterpart(whole, "NOT_BEGUN")
    moment = _same_moment_before(period, now)
    if moment is None or moment > whole.end:
        return Counterpart(whole, "SHORTER_RANGE")
    return Counterpart(Period(whole.start, max(moment, whole.start), period.zone))


def to_whole_days(period: Period) -> Period:
    """The period up to the end of the local day in which it ends."""
    day = period.end.astimezone(period.zone).date()
    end = first_moment(day, period.zone)
    return period if end == period.end else replace(period, end=first_moment(day + DAY, period.zone))


def _same_moment_before(period: Period, now: datetime) -> datetime | None:
    """The moment as far into the period before as now is into this one; None if it has no such day."""
    days = period.days
    if days is None:
        return now - (period.end - period.start)
    wall = wall_time(now, period.zone)
    months = _whole_months(days)
    if not months:
        return moment_of(wall - (days[1] - days[0]), period.zone)
    month = _months_later(wall.date().replace(day=1), -months)
    if wall.day > monthrange(month.year, month.month)[1]:
        return None
    return moment_of(wall.replace(year=month.year, month=month.month), period.zone)


def _whole_months(days: Days) -> int:
    """The number of months that a range of days consists of; 0 if it begins or ends within one."""
    first, last = days
    if first.day != 1 or last.day != 1:
        return 0
    return (last.year - first.year) * MONTHS_OF_YEAR + last.month - first.month


def _months_later(first: date, months: int) -> date:
    """The first day of the month `months` after that of this first day."""
    years, month = divmod(first.month - 1 + months, MONTHS_OF_YEAR)
    return date(first.year + years, month + 1, 1)


def next_month(day: date) -> date:
    """The first day of the month after that of a day."""
    return _months_later(day.replace(day=1), 1)


# Named periods -------------------------------------------------------------------------------------------------------


def _last_days(count: int) -> Callable[[date], Days]:
    return lambda today: (today - (count - 1) * DAY, today + DAY)


def _weeks(back: int) -> Callable[[date], Days]:
    def week(today: date) -> Days:
        monday = today - (today.weekday() + 7 * back) * DAY
        return monday, monday + 7 * DAY

    return week


def _months(of: int, back: int) -> Callable[[date], Days]:
    """The stretch of `of` months of the calendar year that contains today, or the one `back` stretches before."""

    def stretch(today: date) -> Days:
        start = _months_later(date(today.year, today.month - (today.month - 1) % of, 1), -of * back)
        return start, _months_later(start, of)

    return stretch


def _last_12_months(today: date) -> Days:
    end = next_month(today)
    return _months_later(end, -MONTHS_OF_YEAR), end


_NAMED: dict[int, Callable[[date], Days]] = {
    TimeRange.PERIOD_TODAY: _last_days(1),
    TimeRange.PERIOD_YESTERDAY: lambda today: (today - DAY, today),
    TimeRange.PERIOD_LAST_7_DAYS: _last_days(7),
    TimeRange.PERIOD_LAST_30_DAYS: _last_days(30),
    TimeRange.PERIOD_LAST_90_DAYS: _last_days(90),
    TimeRange.PERIOD_THIS_WEEK: _weeks(0),
    TimeRange.PERIOD_LAST_WEEK: _weeks(1),
    TimeRange.PERIOD_THIS_MONTH: _months(1, 0),
    TimeRange.PERIOD_LAST_MONTH: _months(1, 1),
    TimeRange.PERIOD_THIS_QUARTER: _months(MONTHS_OF_QUARTER, 0),
    TimeRange.PERIOD_LAST_QUARTER: _months(MONTHS_OF_QUARTER, 1),
    TimeRange.PERIOD_THIS_YEAR: _months(MONTHS_OF_YEAR, 0),
    TimeRange.PERIOD_LAST_YEAR: _months(MONTHS_OF_YEAR, 1),
    TimeRange.PERIOD_LAST_12_MONTHS: _last_12_months,
}


# What requests say ---------------------------------------------------------------------------------------------------


def _day(text: str, field: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise _refused(field, "is no day of the calendar", "time_range.day") from error
    return _within_years(day, field)


def _moment(asked: TimeRange, name: str, field: str) -> datetime:
    try:
        moment: datetime = getattr(asked, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _refused(f"{field}.{name}", "is no moment of the calendar", "time_range.day") from error
    return _within_years(moment, f"{field}.{name}")


def _within_years(point: Point, field: str) -> Point:
    if not FIRST_YEAR <= point.year <= LAST_YEAR:
        raise _refused(field, f"is in a year from {FIRST_YEAR} to {LAST_YEAR}", "time_range.day")
    return point


def _refused(field: str, description: str, rule: str) -> RuleViolated:
    return broken_rules([Violation(field, description, rule)])
