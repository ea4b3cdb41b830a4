"""Ranges of time: local days of 23 to 25 hours, midnights that are missing or doubled, and what compares with what."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import protovalidate
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from plinth.types.v1 import series_pb2
from plinth.types.v1.time_range_pb2 import TimeRange

from server.kernel.problems import RuleViolated
from server.kernel.read_models import Zones
from server.kernel.read_models.buckets import MOST_POINTS, bounds_of, bucket_for, local_start
from server.kernel.read_models.periods import Period, before, counterpart, of_days, period_of
from server.kernel.read_models.zones import first_moment
from tests.kernel import calls

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
UTC_ZONE = ZoneInfo("UTC")
# A Friday.
NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)
NAMES = sorted(available_timezones())
DAYS = st.dates(date(1950, 1, 1), date(2037, 12, 31))
MOMENTS = st.integers(-(2**29), 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def day(text: str) -> date:
    return date.fromisoformat(text)


# Local days ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "local_day", "clock", "hours"),
    [
        ("Europe/Madrid", "2026-03-29", "00:00", 23),
        ("Europe/Madrid", "2026-10-25", "00:00", 25),
        # The clock skips midnight.
        ("America/Sao_Paulo", "2018-11-04", "01:00", 23),
        ("Africa/Cairo", "2024-04-26", "01:00", 23),
        ("Asia/Beirut", "2024-03-31", "01:00", 23),
        # Midnight goes back to 23:00 of the day before, which therefore has 25 hours.
        ("America/Sao_Paulo", "2018-02-17", "00:00", 25),
        ("Africa/Cairo", "2024-10-31", "00:00", 25),
        ("Asia/Beirut", "2024-10-26", "00:00", 25),
        # Midnight comes twice.
        ("America/Havana", "2024-11-03", "00:00", 25),
        # The clock went from 23:30 to 00:30, and from 00:01 to 23:01.
        ("America/Toronto", "1919-03-31", "00:30", 23.5),
        ("America/St_Johns", "2006-10-29", "00:00", 25),
        # The zone skipped the whole day.
        ("Pacific/Apia", "2011-12-30", "00:00", 0),
        ("Asia/Kathmandu", "2026-11-27", "00:00", 24),
    ],
)
def test_a_local_day_begins_at_its_first_moment(name: str, local_day: str, clock: str, hours: float) -> None:
    zone = ZoneInfo(name)
    start, end = first_moment(day(local_day), zone), first_moment(day(local_day) + DAY, zone)
    assert start.astimezone(zone).strftime("%H:%M") == clock
    assert end - start == hours * HOUR


@given(st.sampled_from(NAMES), DAYS)
def test_no_moment_of_a_day_is_before_its_first(name: str, local_day: date) -> None:
    zone = ZoneInfo(name)
    start = first_moment(local_day, zone)
    assert start.astimezone(zone).date() >= local_day
    assert (start - timedelta(seconds=1)).astimezone(zone).date() < local_day
    assert start <= first_moment(local_day + DAY, zone)


# Named ranges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("TODAY", "2026-11-27", "2026-11-28"),
        ("YESTERDAY", "2026-11-26", "2026-11-27"),
        ("LAST_7_DAYS", "2026-11-21", "2026-11-28"),
        ("LAST_30_DAYS", "2026-10-29", "2026-11-28"),
        ("LAST_90_DAYS", "2026-08-30", "2026-11-28"),
        ("THIS_WEEK", "2026-11-23", "2026-11-30"),
        ("LAST_WEEK", "2026-11-16", "2026-11-23"),
        ("THIS_MONTH", "2026-11-01", "2026-12-01"),
        ("LAST_MONTH", "2026-10-01", "2026-11-01"),
        ("THIS_QUARTER", "2026-10-01", "2027-01-01"),
        ("LAST_QUARTER", "2026-07-01", "2026-10-01"),
        ("THIS_YEAR", "2026-01-01", "2027-01-01"),
        ("LAST_YEAR", "2025-01-01", "2026-01-01"),
        ("LAST_12_MONTHS", "2025-12-01", "2026-12-01"),
    ],
)
def test_a_named_range(name: str, first: str, last: str) -> None:
    asked = TimeRange(period=f"PERIOD_{name}")
    assert period_of(asked, UTC_ZONE, NOW).days == (day(first), day(last))


def test_every_name_means_a_range() -> None:
    for name in TimeRange.Period.keys():  # noqa: SIM118 - an enum of protobuf is no mapping
        assert period_of(TimeRange(period=name), UTC_ZONE, NOW).days, name


def test_today_is_the_day_of_the_zone() -> None:
    late = datetime(2026, 11, 27, 23, 30, tzinfo=UTC)
    asked = TimeRange(period=TimeRange.PERIOD_TODAY)
    assert period_of(asked, ZoneInfo("Asia/Kathmandu"), late).days == (day("2026-11-28"), day("2026-11-29"))
    assert period_of(asked, ZoneInfo("America/New_York"), late).days == (day("2026-11-27"), day("2026-11-28"))


def test_without_a_range_the_read_model_has_its_own() -> None:
    assert period_of(TimeRange(), UTC_ZONE, NOW).days == (day("2026-10-29"), day("2026-11-28"))


# Rules ---------------------------------------------------------------------------------------------------------------


def moment(text: str) -> Timestamp:
    found = Timestamp()
    found.FromJsonString(text)
    return found


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (TimeRange(period=TimeRange.PERIOD_TODAY, start_date="2026-01-01", end_date="2026-02-01"), "one_form"),
        (TimeRange(period=TimeRange.PERIOD_TODAY, end_time=moment("2026-01-01T00:00:00Z")), "one_form"),
        (TimeRange(start_date="2026-01-01"), "both_ends"),
        (TimeRange(end_time=moment("2026-01-01T00:00:00Z")), "both_ends"),
        (TimeRange(start_date="2026-01-01", end_date="2026-01-01"), "order"),
        (TimeRange(start_time=moment("2026-01-02T00:00:00Z"), end_time=moment("2026-01-01T00:00:00Z")), "order"),
    ],
)
def test_the_contract_refuses_what_is_no_range(asked: TimeRange, rule: str) -> None:
    found = protovalidate.collect_violations(asked)
    assert f"time_range.{rule}" in [violation.proto.rule_id for violation in found]


@pytest.mark.parametrize(
    "asked",
    [
        TimeRange(),
        TimeRange(period=TimeRange.PERIOD_TODAY, time_zone="UTC"),
        TimeRange(start_date="2026-01-01", end_date="2026-01-02"),
        TimeRange(start_time=moment("2026-01-01T00:00:00Z"), end_time=moment("2026-01-01T00:00:00.000001Z")),
    ],
)
def test_the_contract_takes_each_form(asked: TimeRange) -> None:
    protovalidate.validate(asked)


def violation_of(asked: TimeRange, zone: ZoneInfo = UTC_ZONE) -> tuple[str, str]:
    with pytest.raises(RuleViolated) as caught:
        period_of(asked, zone, NOW)
    (violation,) = caught.value.violations
    return violation.field, violation.rule


@pytest.mark.parametrize(
    ("asked", "violation"),
    [
        (TimeRange(start_date="2026-02-29", end_date="2026-03-01"), ("range.start_date", "time_range.day")),
        (TimeRange(start_date="2026-01-01", end_date="2026-13-01"), ("range.end_date", "time_range.day")),
        (TimeRange(start_date="1899-12-31", end_date="1900-01-02"), ("range.start_date", "time_range.day")),
        (TimeRange(start_date="2016-01-01", end_date="2026-11-27"), ("range", "time_range.span")),
        (
            TimeRange(start_time=moment("0001-01-01T00:00:00Z"), end_time=moment("2026-01-01T00:00:00Z")),
            ("range.start_time", "time_range.day"),
        ),
        (
            TimeRange(start_time=Timestamp(seconds=2**60), end_time=Timestamp(seconds=2**61)),
            ("range.start_time", "time_range.day"),
        ),
        (
            TimeRange(start_time=Timestamp(nanos=1), end_time=Timestamp(nanos=2)),
            ("range", "time_range.order"),
        ),
    ],
)
def test_what_the_contract_cannot_tell_is_refused_too(asked: TimeRange, violation: tuple[str, str]) -> None:
    assert violation_of(asked) == violation


def test_a_day_that_the_zone_skipped_is_no_range() -> None:
    asked = TimeRange(start_date="2011-12-30", end_date="2011-12-31")
    assert violation_of(asked, ZoneInfo("Pacific/Apia")) == ("range", "time_range.order")


# Zones ---------------------------------------------------------------------------------------------------------------


def test_the_zone_is_that_of_the_request_else_of_the_user_else_of_the_tenant() -> None:
    call = calls.call(calls.GET)
    zones = Zones(lambda _: "Africa/Cairo", lambda _: "Asia/Beirut")
    assert zones.of(call, "Europe/Madrid").key == "Europe/Madrid"
    assert zones.of(call, "").key == "Africa/Cairo"
    assert Zones(lambda _: "", lambda _: "Asia/Beirut").of(call, "").key == "Asia/Beirut"
    assert Zones(lambda _: "").of(call, "").key == "UTC"
    assert Zones().of(call, "").key == "UTC"


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "/etc/localtime", "europe", "UTC "])
def test_another_zone_is_refused(name: str) -> None:
    with pytest.raises(RuleViolated) as caught:
        Zones().of(calls.call(calls.GET), name)
    assert [(each.field, each.rule) for each in caught.value.violations] == [
        ("range.time_zone", "time_range.time_zone")
    ]


# What compares with what ---------------------------------------------------------------------------------------------


def days(first: str, last: str, zone: str = "UTC") -> Period:
    return of_days((day(first), day(last)), ZoneInfo(zone))


@pytest.mark.parametrize(
    ("first", "last", "start"),
    [
        ("2026-03-01", "2026-04-01", "2026-02-01"),
        ("2026-01-01", "2026-04-01", "2025-10-01"),
        ("2024-01-01", "2025-01-01", "2023-01-01"),
        ("2026-03-02", "2026-04-01", "2026-01-31"),
        ("2026-11-23", "2026-11-30", "2026-11-16"),
        ("2026-03-01", "2026-03-02", "2026-02-28"),
    ],
)
def test_months_compare_with_months_and_days_with_days(first: str, last: str, start: str) -> None:
    assert before(days(first, last, "Africa/Cairo")).days == (day(start), day(first))


def test_other_ranges_compare_with_as_much_time() -> None:
    start = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    period = Period(start, start + 5 * HOUR, ZoneInfo("Europe/Madrid"))
    assert before(period) == Period(start - 5 * HOUR, start, period.zone)
    assert counterpart(period, start + HOUR).period == Period(start - 5 * HOUR, start - 4 * HOUR, period.zone)


@pytest.mark.parametrize(
    ("period", "now", "end", "reason"),
    [
        # By the clock of the zone, over a change of the clock.
        (days("2026-03-29", "2026-03-30", "Europe/Madrid"), "2026-03-29T08:00:00Z", "2026-03-28T09:00:00Z", ""),
        (days("2026-03-01", "2026-04-01"), "2026-03-17T10:00:00Z", "2026-02-17T10:00:00Z", ""),
        (days("2026-01-01", "2027-01-01"), "2026-02-28T10:00:00Z", "2025-02-28T10:00:00Z", ""),
        (days("2024-01-01", "2025-01-01"), "2024-02-29T10:00:00Z", "2024-01-01T00:00:00Z", "SHORTER_RANGE"),
        (days("2026-03-01", "2026-04-01"), "2026-03-29T00:00:00Z", "2026-03-01T00:00:00Z", "SHORTER_RANGE"),
        # Over, and not yet begun.
        (days("2026-03-01", "2026-04-01"), "2026-04-01T00:00:00Z", "2026-03-01T00:00:00Z", ""),
        (days("2026-03-01", "2026-04-01"), "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "NOT_BEGUN"),
    ],
)
def test_a_range_that_lasts_compares_with_the_same_part(period: Period, now: str, end: str, reason: str) -> None:
    found = counterpart(period, datetime.fromisoformat(now))
    assert (found.period.start, found.period.end) == (before(period).start, datetime.fromisoformat(end))
    assert found.reason == reason


# Buckets -------------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(NAMES),
    MOMENTS,
    st.timedeltas(timedelta(microseconds=1), timedelta(days=16)),
    st.sampled_from(series_pb2.Bucket.values()),
)
def test_buckets_cover_a_range_without_a_gap(
    name: str, start: datetime, length: timedelta, asked: series_pb2.Bucket
) -> None:
    period = Period(start, start + length, ZoneInfo(name))
    bucket = bucket_for(period, asked)
    bounds = bounds_of(period, bucket)
    assert (bounds[0], bounds[-1]) == (period.start, period.end)
    assert bounds == sorted({*bounds})
    for bound in bounds[1:-1]:
        before_bound, at = ((bound - away).astimezone(period.zone) for away in (timedelta(microseconds=1), timedelta()))
        if bucket == series_pb2.BUCKET_HOUR:
            assert at.utcoffset() != before_bound.utcoffset() or (at.minute, at.second, at.microsecond) == (0, 0, 0)
        else:
            assert first_moment(at.date(), period.zone) == bound
            assert bucket != series_pb2.BUCKET_MONTH or at.day == 1
    assert max(end - start for start, end in pairwise(bounds)) <= _longest(bucket)


def _longest(bucket: series_pb2.Bucket) -> timedelta:
    """What a change of the clock makes of the longest bucket. A zone may have skipped or repeated most of a day."""
    plain = {series_pb2.BUCKET_HOUR: 0 * DAY, series_pb2.BUCKET_DAY: DAY, series_pb2.BUCKET_WEEK: 7 * DAY}
    return plain.get(bucket, 31 * DAY) + DAY


def test_the_bucket_suits_the_range() -> None:
    found = [
        bucket_for(days("2026-01-01", last), series_pb2.BUCKET_UNSPECIFIED)
        for last in ("2026-01-02", "2026-01-04", "2026-01-05", "2026-04-11", "2026-04-12", "2028-01-01")
    ]
    assert found == [
        *(series_pb2.BUCKET_HOUR, series_pb2.BUCKET_HOUR, series_pb2.BUCKET_DAY, series_pb2.BUCKET_DAY),
        *(series_pb2.BUCKET_WEEK, series_pb2.BUCKET_MONTH),
    ]


def test_an_hour_that_comes_twice_has_two_buckets() -> None:
    period = days("2026-10-25", "2026-10-26", "Europe/Madrid")
    starts = bounds_of(period, series_pb2.BUCKET_HOUR)[:-1]
    assert len(starts) == 25
    labels = [local_start(start, period, series_pb2.BUCKET_HOUR) for start in starts]
    assert labels[1:4] == ["2026-10-25T01:00:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]


def test_days_are_labelled_as_days() -> None:
    period = days("2018-11-03", "2018-11-06", "America/Sao_Paulo")
    starts = bounds_of(period, series_pb2.BUCKET_DAY)[:-1]
    labels = [local_start(start, period, series_pb2.BUCKET_DAY) for start in starts]
    assert labels == ["2018-11-03", "2018-11-04", "2018-11-05"]
    within = Period(period.start + HOUR, period.end, period.zone)
    assert local_start(within.start, within, series_pb2.BUCKET_DAY) == "2018-11-03T01:00:00-03:00"


def test_a_range_of_the_most_points_is_taken_and_no_longer_one() -> None:
    first = day("2025-01-01")
    most = of_days((first, first + MOST_POINTS * DAY), UTC_ZONE)
    assert len(bounds_of(most, series_pb2.BUCKET_DAY)) == MOST_POINTS + 1
    with pytest.raises(RuleViolated):
        bounds_of(of_days((first, first + (MOST_POINTS + 1) * DAY), UTC_ZONE), series_pb2.BUCKET_DAY)
