"""Waiting: until when mail and push wait for the end of quiet hours, and mail for the next digest.

Times of a clock on the wall are those of a zone, so that 22:00 stays 22:00 when summer begins.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from plinth.notifications.v1.notification_preferences_pb2 import EmailDigest, QuietHours

DIGEST, QUIET_HOURS, RATE = "DIGEST", "QUIET_HOURS", "RATE"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


class Wait(NamedTuple):
    """Until when something waits, and why."""

    until: datetime
    reason: str


def quiet_until(hours: QuietHours, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The end of the quiet hours in which a moment is; None if it is in none.

    Quiet hours of another day may follow at once: what is sent then asks again.
    """
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    today = now.astimezone(zone).date()
    # Those of yesterday may last until today.
    for day in (today - DAY, today):
        if hours.days and _day_of_week(day) not in hours.days:
            continue
        begins, ends = _moment(day, start, zone), _moment(day if start < end else day + DAY, end, zone)
        if begins <= now < ends:
            return ends
    return None


def next_digest(digest: EmailDigest, zone: ZoneInfo, now: datetime) -> datetime:
    """The next moment at which mail comes together. Hourly ones come at the full hours of UTC."""
    if digest.frequency == EmailDigest.FREQUENCY_HOURLY:
        return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    today = now.astimezone(zone).date()
    at = time(digest.hour)
    return next(moment for day in (today, today + DAY, today + 2 * DAY) if (moment := _moment(day, at, zone)) > now)


def _moment(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When a clock shows a time on a day: for the first time in autumn; an hour later where spring leaves it out."""
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _day_of_week(day: date) -> int:
    """As DayOfWeek has it: Monday is 1."""
    return day.isoweekday()
