"""Until when mail and push wait, against clocks that go minute by minute; and how much goes out in a while."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_preferences_pb2 import EmailDigest, QuietHours

from server.domains.notifications.pace import Pace, paced
from server.domains.notifications.pipeline import Facts, Person, waits
from server.domains.notifications.waiting import DIGEST, QUIET_HOURS, Wait, next_digest, quiet_until
from server.domains.notifications.workflows import EMAIL, PUSH, WORKFLOWS
from server.kernel.rates import Rate

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]).map(
    ZoneInfo
)
# Around the days on which clocks in Berlin and New York are changed.
DAYS = st.sampled_from([datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 27), (6, 1), (10, 23))])
TIMES = st.builds(lambda day, minutes: day + timedelta(minutes=minutes), DAYS, st.integers(0, 3 * 24 * 60))
CLOCKS = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda clock: f"{clock[0]:02}:{clock[1]:02}")
MINUTE = timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")


def is_quiet(hours: QuietHours, zone: ZoneInfo, now: datetime) -> bool:
    """By the hands of the clock alone. Not for the hour that autumn shows twice, nor the one that spring leaves out."""
    local = now.astimezone(zone)
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    today, yesterday = local.isoweekday(), (local - timedelta(days=1)).isoweekday()
    begun_today, begun_yesterday = (not hours.days or day in hours.days for day in (today, yesterday))
    clock = local.time()
    if start < end:
        return begun_today and start <= clock < end
    return (begun_today and clock >= start) or (begun_yesterday and clock < end)


def is_plain(zone: ZoneInfo, now: datetime) -> bool:
    """Whether no clock is changed within two days of a moment."""
    offsets = {(now + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in range(-50, 51)}
    return len(offsets) == 1


@given(start=CLOCKS, end=CLOCKS, days=st.sets(st.integers(1, 7)), zone=ZONES, now=TIMES)
@example(start="22:00", end="07:00", days=set(), zone=BERLIN, now=datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
def test_quiet_hours_are_those_that_a_clock_shows(
    start: str, end: str, days: set[int], zone: ZoneInfo, now: datetime
) -> None:
    hours = QuietHours(start=start, end=end, days=sorted(days))
    until = quiet_until(hours, zone, now)
    if is_plain(zone, now):
        assert (until is not None) is is_quiet(hours, zone, now)
    if until is not None:
        assert now < until <= now + timedelta(hours=25)
        # Their end is what the clock shows, also on a day with 23 or 25 hours.
        shown = until.astimezone(zone).strftime("%H:%M")
        assert shown == end or not is_plain(zone, now)
        if is_plain(zone, now):
            minute = now
            while minute < until:
                assert is_quiet(hours, zone, minute)
                minute += 7 * MINUTE


def test_a_night_in_which_clocks_change_ends_when_the_clock_says_so() -> None:
    hours = QuietHours(start="22:00", end="07:00")
    spring, autumn = datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert quiet_until(hours, BERLIN, spring) == datetime(2026, 3, 29, 5, tzinfo=UTC)
    assert quiet_until(hours, BERLIN, autumn) == datetime(2026, 10, 25, 6, tzinfo=UTC)


@given(hour=st.integers(0, 23), zone=ZONES, now=TIMES)
def test_a_daily_digest_comes_at_its_hour_once_a_day(hour: int, zone: ZoneInfo, now: datetime) -> None:
    digest = EmailDigest(frequency=EmailDigest.FREQUENCY_DAILY, hour=hour)
    first = next_digest(digest, zone, now)
    second = next_digest(digest, zone, first)
    assert now < first <= now + timedelta(hours=25)
    assert timedelta(hours=23) <= second - first <= timedelta(hours=25)
    if is_plain(zone, now):
        assert first.astimezone(zone).strftime("%H:%M") == f"{hour:02}:00"


@given(now=TIMES, seconds=st.integers(0, 59))
def test_an_hourly_digest_comes_at_the_full_hour(now: datetime, seconds: int) -> None:
    now += timedelta(seconds=seconds)
    moment = next_digest(EmailDigest(frequency=EmailDigest.FREQUENCY_HOURLY), BERLIN, now)
    assert (moment.minute, moment.second) == (0, 0)
    assert timedelta() < moment - now <= timedelta(hours=1)


def facts(
    person: Person, now: datetime, priority: int = Notification.PRIORITY_NORMAL, workflow: str = "message"
) -> Facts:
    """A message to somebody."""
    return Facts(
        workflow=WORKFLOWS[workflow],
        priority=priority,
        recipient_id="a",
        person=person,
        actor_id="b",
        group_key="",
        expire_time=None,
        now=now,
    )


def test_what_is_urgent_waits_for_nothing() -> None:
    night = datetime(2026, 6, 1, 23, tzinfo=UTC)
    person = Person(
        quiet_hours=QuietHours(start="22:00", end="07:00"),
        email_digest=EmailDigest(frequency=EmailDigest.FREQUENCY_HOURLY),
    )
    morning = datetime(2026, 6, 2, 7, tzinfo=UTC)
    assert waits(facts(person, night), PUSH) == Wait(morning, QUIET_HOURS)
    assert waits(facts(person, night), EMAIL) == Wait(morning, DIGEST)
    assert waits(facts(person, night, Notification.PRIORITY_HIGH), EMAIL) == Wait(morning, QUIET_HOURS)
    assert waits(facts(person, night, Notification.PRIORITY_CRITICAL), PUSH) is None
    assert waits(facts(person, night, workflow="account-security"), PUSH) is None
    noon = datetime(2026, 6, 1, 12, 10, tzinfo=UTC)
    assert waits(facts(person, noon), PUSH) is None
    assert waits(facts(person, noon), EMAIL) == Wait(datetime(2026, 6, 1, 13, tzinfo=UTC), DIGEST)
    # What has waited for a digest does not wait for the next one.
    assert waits(facts(person, noon), EMAIL, is_new=False) is None


@given(gaps=st.lists(st.integers(0, 900), max_size=120), calls=st.integers(1, 10), period=st.integers(60, 3600))
def test_no_more_goes_out_than_the_rate_allows_and_all_of_it_goes_out(gaps: list[int], calls: int, period: int) -> None:
    rate = Rate(calls, float(period))
    now, pace = datetime(2026, 6, 1, tzinfo=UTC), Pace()
    sent: list[datetime] = []
    for gap in gaps:
        now += timedelta(seconds=gap)
        pace, leaves = paced(pace, rate, now)
        assert now <= leaves <= now + timedelta(seconds=rate.interval) + timedelta(microseconds=1)
        # All that waits for the end of one window goes out as one; what goes at once goes out each for itself.
        if leaves == now or leaves not in sent:
            sent.append(leaves)
    sent.sort()
    for place, first in enumerate(sent):
        within = [each for each in sent[place:] if each < first + timedelta(seconds=period)]
        # As many at once, and then one in each interval.
        assert len(within) <= 2 * calls


@pytest.mark.parametrize("calls", [1, 3])
def test_a_burst_goes_out_and_the_rest_goes_out_together(calls: int) -> None:
    rate, now, pace = Rate(calls, 60.0), datetime(2026, 6, 1, tzinfo=UTC), Pace()
    left = []
    for _ in range(calls + 5):
        pace, leaves = paced(pace, rate, now)
        left.append(leaves)
    assert left[:calls] == [now] * calls
    assert set(left[calls:]) == {now + timedelta(seconds=60 / calls)}
