"""Figures: each equals the fold over its members, and says when it is not known."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from math import isclose
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plinth.types.v1 import series_pb2
from plinth.types.v1.metric_pb2 import Metric
from plinth.types.v1.time_range_pb2 import TimeRange
from sqlalchemy import Text, bindparam, column

from server.kernel.problems import NotFound, RuleViolated
from server.kernel.queries import PageTokens
from server.kernel.read_models import Count, Figures, Members, Percentile, Series, Sum
from server.kernel.read_models.periods import Period, of_days, period_of
from server.kernel.read_models.readings import Reading
from server.kernel.read_models.zones import first_moment
from tests.read_models.sales import FACTS, FOLDS, Sale, Shop, described, opened, rows_of, series_over
from tests.stack import Stack

NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)
DAY = timedelta(days=1)
# Zones with the days on which their clocks change, which are the days that facts and ranges lie around.
ZONES = {
    "UTC": date(2024, 2, 29),
    "Africa/Cairo": date(2024, 4, 26),
    "America/New_York": date(2024, 11, 3),
    "America/Sao_Paulo": date(2018, 11, 4),
    "Asia/Beirut": date(2024, 10, 27),
    "Asia/Kathmandu": date(2024, 3, 31),
    "Australia/Lord_Howe": date(2024, 4, 7),
}
SALES = described("sales")
SERIES = {name: series_over(name) for name in ("sales", "facts_sale")}
FIGURES = {name: Figures(series=each, clock=lambda: NOW) for name, each in SERIES.items()}
TOKENS = PageTokens(b"k" * 32)
MEMBERS = {name: Members(each, rows_of(each.series.table), TOKENS) for name, each in FIGURES.items()}
BUCKETS = [value for value in series_pb2.Bucket.values() if value != series_pb2.BUCKET_HOUR]


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Iterator[Shop]:
    with opened(stack) as shop:
        # What another tenant sold is in nobody else's figures.
        times = [datetime(2024, 1, 1, tzinfo=UTC) + n * timedelta(hours=7) for n in range(1500)]
        shop.record(new_tenant_id(), [sale(time, buyer="stranger", refunded=True) for time in times])
        yield shop


def new_tenant_id() -> str:
    return str(uuid.uuid4())


def sale(time: datetime, **facts: Any) -> Sale:
    return Sale(str(uuid.uuid4()), time, **facts)


def _away(moment: datetime, away: timedelta) -> datetime:
    return moment + away


@st.composite
def histories(draw: st.DrawFn) -> tuple[Period, list[Sale]]:
    """A range of local days around a change of the clock, and sales in and around it, many of them at its bounds."""
    name = draw(st.sampled_from(sorted(ZONES)))
    zone = ZoneInfo(name)
    first = ZONES[name] - draw(st.integers(0, 40)) * DAY
    period = of_days((first, first + draw(st.integers(1, 60)) * DAY), zone)
    within = st.integers(-3, 63).map(lambda days: first_moment(first + days * DAY, zone))
    near = st.sampled_from([period.start, period.end]) | within
    times = st.builds(
        _away,
        near,
        st.sampled_from([timedelta(), timedelta(microseconds=-1), timedelta(microseconds=1)])
        | st.timedeltas(timedelta(hours=-26), timedelta(hours=26)),
    )
    sales = st.builds(
        sale,
        times,
        buyer=st.none() | st.sampled_from(["a", "b", "c"]),
        seconds=st.none() | st.integers(0, 2**20).map(lambda n: n / 8),
        amount=st.integers(-5, 2**40),
        currency=st.sampled_from(["EUR", "JPY", "KWD"]),
        refunded=st.booleans(),
        deleted=st.sampled_from([False, False, False, True]),
    )
    return period, draw(st.lists(sales, max_size=25))


def facts_of(name: str, sales: Sequence[Sale], start: datetime, end: datetime) -> list[Sale]:
    """The members of a figure, told from what was recorded."""
    within = [each for each in sales if start <= each.time < end and each.amount > 0 and not each.deleted]
    return [each for each in within if name not in FACTS or FACTS[name](each)]


def members_of(shop: Shop, tenant_id: str, source: str, period: Period, name: str, *, currency: str = "") -> list[str]:
    """The ids of all members of a figure, newest first, a few to the page."""
    found: list[str] = []
    token = ""
    while True:
        with shop.call(tenant_id) as call:
            request = SimpleNamespace(page_size=4, page_token=token)
            page, token = MEMBERS[source].page(call, period.shown, name, request, currency=currency)
        found += [each.id for each in page]
        if not token:
            return found


def read(
    shop: Shop,
    tenant_id: str,
    period: Period,
    *,
    now: datetime = NOW,
    source: str = "sales",
    bucket: series_pb2.Bucket = series_pb2.BUCKET_DAY,
    **asked: Any,
) -> Reading:
    with shop.call(tenant_id) as call:
        return SERIES[source].read(call, period, now, bucket=bucket, **asked)


def is_value(shown: Metric | series_pb2.Series.Point, folded: float | None, currency: str) -> bool:
    """Whether a figure shows what was folded, in units of its currency, and exactly where it has whole minor units."""
    if folded is None:
        return not shown.HasField("value")
    scale = {"": 1, "EUR": 100, "JPY": 1, "KWD": 1000}[currency]
    is_exact = not shown.HasField("money") or shown.money.units * 10**9 + shown.money.nanos == folded * 10**9 // scale
    return isclose(shown.value, folded / scale, rel_tol=1e-12) and is_exact


@settings(max_examples=60, deadline=None)
@given(history=histories(), bucket=st.sampled_from(BUCKETS), source=st.sampled_from(sorted(SERIES)))
def test_a_figure_is_the_fold_over_its_members(
    shop: Shop, history: tuple[Period, list[Sale]], bucket: series_pb2.Bucket, source: str
) -> None:
    (period, sales), tenant_id = history, new_tenant_id()
    shop.record(tenant_id, sales)
    reading = read(shop, tenant_id, period, source=source, bucket=bucket)
    by_id = {each.id: each for each in sales}
    is_known = any(each.amount > 0 and not each.deleted for each in sales)
    for metric, series in zip(reading.metrics, reading.series, strict=True):
        fold, currency = FOLDS[metric.name], metric.unit if len(metric.unit) == 3 else ""
        listed = [by_id[each] for each in members_of(shop, tenant_id, source, period, metric.name, currency=currency)]
        expected = [
            each
            for each in facts_of(metric.name, sales, period.start, period.end)
            if not currency or each.currency == currency
        ]
        assert sorted(listed, key=lambda each: each.id) == sorted(expected, key=lambda each: each.id)
        assert [each.time for each in listed] == sorted((each.time for each in listed), reverse=True)
        assert metric.source_rows == len(listed)
        assert is_value(metric, fold(listed) if is_known else None, currency), metric
        for point in series.points:
            start, end = (each.ToDatetime(UTC) for each in (point.start_time, point.end_time))
            inside = [each for each in listed if start <= each.time < end]
            assert point.source_rows == len(inside)
            assert is_value(point, fold(inside) if is_known else None, currency), point
        assert sum(point.source_rows for point in series.points) == len(listed)


def test_money_is_a_figure_for_each_currency_and_never_added_up(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    period = of_days((date(2026, 3, 1), date(2026, 4, 1)), ZoneInfo("Europe/Madrid"))
    at = period.start + DAY
    shop.record(
        tenant_id,
        [sale(at, amount=1999), sale(at, amount=1), sale(at, amount=500, currency="JPY"), sale(at, currency="KWD")],
    )
    found = {
        (metric.name, metric.unit): metric
        for metric in read(shop, tenant_id, period).metrics
        if metric.name in ("revenue", "basket")
    }
    assert found.keys() == {(name, unit) for name in ("revenue", "basket") for unit in ("EUR", "JPY", "KWD")}
    revenue = {unit: found["revenue", unit] for unit in ("EUR", "JPY", "KWD")}
    assert {unit: metric.value for unit, metric in revenue.items()} == {"EUR": 20.0, "JPY": 500.0, "KWD": 0.1}
    amounts = {unit: (metric.money.units, metric.money.nanos) for unit, metric in revenue.items()}
    assert amounts == {"EUR": (20, 0), "JPY": (500, 0), "KWD": (0, 100_000_000)}
    assert found["basket", "EUR"].value == 10.0
    assert not found["basket", "EUR"].HasField("money")


# What is not known ---------------------------------------------------------------------------------------------------


def states(reading: Reading) -> dict[str, tuple[str, str]]:
    return {
        metric.name: (Metric.State.Name(metric.state).removeprefix("STATE_"), metric.reason)
        for metric in reading.metrics
    }


MARCH = of_days((date(2026, 3, 1), date(2026, 4, 1)), ZoneInfo("UTC"))


def test_without_a_fact_ever_every_figure_is_no_data(shop: Shop) -> None:
    reading = read(shop, new_tenant_id(), MARCH, compare=True)
    assert {*states(reading).values()} == {("NO_DATA", "NO_FACTS")}
    for metric, series in zip(reading.metrics, reading.series, strict=True):
        assert not metric.HasField("value")
        assert not metric.HasField("money")
        assert not metric.comparison.HasField("value")
        assert not metric.comparison.comparable
        assert {(point.state, point.HasField("value")) for point in series.points} == {(Metric.STATE_NO_DATA, False)}


def test_with_facts_elsewhere_a_sum_is_0_and_an_average_has_no_data(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start - DAY)])
    reading = read(shop, tenant_id, MARCH)
    zero, nothing = ("OK", ""), ("NO_DATA", "NOTHING_TO_DIVIDE_BY")
    assert states(reading) == {
        **dict.fromkeys(("sales", "refunds", "buyers", "seconds", "revenue"), zero),
        **dict.fromkeys(("mean", "median", "refund_rate", "basket"), nothing),
    }
    assert {metric.value for metric in reading.metrics if metric.state == Metric.STATE_OK} == {0.0}
    # An amount of nothing has no currency.
    assert {metric.unit for metric in reading.metrics if metric.name == "revenue"} == {""}
    point = reading.series[0].points[0]
    assert (point.state, point.value, point.HasField("value")) == (Metric.STATE_OK, 0.0, True)


def test_too_few_facts_are_insufficient(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start, seconds=1.0), sale(MARCH.start, seconds=2.0)])
    found = {metric.name: metric for metric in read(shop, tenant_id, MARCH).metrics}
    assert states(read(shop, tenant_id, MARCH))["median"] == ("INSUFFICIENT_DATA", "TOO_FEW_FACTS")
    assert not found["median"].HasField("value")
    assert found["median"].source_rows == 2
    assert found["mean"].value == 1.5


def test_what_was_removed_is_missing_and_not_0(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start + 20 * DAY)])
    partial = read(shop, tenant_id, MARCH, kept_since=MARCH.start + 10 * DAY)
    assert states(partial)["sales"] == ("PARTIAL", "BEFORE_RETENTION")
    assert partial.metrics[0].value == 1
    points = partial.series[0].points
    assert [point.state for point in points] == [Metric.STATE_NO_DATA] * 10 + [Metric.STATE_OK] * 21
    assert states(read(shop, tenant_id, MARCH, kept_since=MARCH.end))["sales"] == ("NO_DATA", "BEFORE_RETENTION")


def test_a_bucket_that_has_not_begun_has_no_data(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start)])
    points = read(shop, tenant_id, MARCH, now=MARCH.start + 2.5 * DAY).series[0].points
    assert [point.state for point in points] == [Metric.STATE_OK] * 3 + [Metric.STATE_NO_DATA] * 28


# Comparison ----------------------------------------------------------------------------------------------------------


def test_a_period_that_lasts_is_compared_with_the_same_part_of_the_one_before(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    now = datetime(2026, 3, 17, 10, tzinfo=UTC)
    february = datetime(2026, 2, 17, 10, tzinfo=UTC)
    times = [february - DAY, february - timedelta(seconds=1), february, february + DAY, now - DAY]
    shop.record(tenant_id, [sale(time) for time in times])
    metric = read(shop, tenant_id, MARCH, now=now, compare=True).metrics[0]
    other = metric.comparison
    assert (other.range.start_time.ToDatetime(UTC), other.range.end_time.ToDatetime(UTC)) == (
        datetime(2026, 2, 1, tzinfo=UTC),
        february,
    )
    assert (metric.value, other.value, other.comparable, other.change, other.change_ratio) == (1, 2, True, -1, -0.5)


def test_nothing_is_divided_by_0(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start)])
    other = read(shop, tenant_id, MARCH, compare=True).metrics[0].comparison
    assert (other.value, other.comparable, other.change, other.HasField("change_ratio")) == (0, True, 1, False)


def test_a_day_that_the_month_before_lacks_is_not_compared(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start - DAY), sale(MARCH.start)])
    other = read(shop, tenant_id, MARCH, now=datetime(2026, 3, 30, tzinfo=UTC), compare=True).metrics[0].comparison
    assert (other.comparable, other.reason, other.value, other.HasField("change")) == (False, "SHORTER_RANGE", 1, False)


def test_currencies_are_compared_each_with_itself(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(
        tenant_id,
        [sale(MARCH.start - DAY, amount=300), sale(MARCH.start, currency="JPY"), sale(MARCH.start, amount=450)],
    )
    found = [each for each in read(shop, tenant_id, MARCH, compare=True).metrics if each.name == "revenue"]
    assert [(each.unit, each.value, each.comparison.value, each.comparison.change) for each in found] == [
        ("EUR", 4.5, 3.0, 1.5),
        ("JPY", 100.0, 0.0, 100.0),
    ]


def test_facts_that_may_lie_ahead_are_not_compared_while_the_period_lasts(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start - DAY), sale(MARCH.end - DAY)])
    booked = Series(name="bookings", table=SALES, time="sale_time", measures=(Count(name="bookings"),), lies_ahead=True)
    with shop.call(tenant_id) as call:
        reading = booked.read(call, MARCH, MARCH.start + DAY, bucket=series_pb2.BUCKET_WEEK, compare=True)
    (metric,), (series,) = reading.metrics, reading.series
    assert (metric.value, metric.comparison.comparable, metric.comparison.reason) == (1, False, "LIES_AHEAD")
    # A day ahead without a booking is known to have none.
    assert {point.state for point in series.points} == {Metric.STATE_OK}
    with shop.call(tenant_id) as call:
        assert booked.read(call, MARCH, MARCH.end, compare=True).metrics[0].comparison.comparable


def test_a_read_model_narrowed_to_the_caller_counts_and_lists_only_theirs(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    shop.record(tenant_id, [sale(MARCH.start, buyer="me"), sale(MARCH.start, buyer="other"), sale(MARCH.start)])
    mine = Series(
        name="mine",
        table=SALES,
        time="sale_time",
        where=SALES.c.buyer == bindparam("me", type_=Text()),
        parameters=lambda _: {"me": "me"},
        measures=(Count(name="sales"),),
    )
    figures = Figures(series=mine, clock=lambda: NOW)
    with shop.call(tenant_id) as call:
        reading = figures.read(call, MARCH.shown)
        page, _ = Members(figures, rows_of(SALES), TOKENS).page(
            call, MARCH.shown, "sales", SimpleNamespace(page_size=0, page_token="")
        )
    assert (reading.metrics[0].value, len(page), reading.series) == (1, 1, [])


# Facts that have a day -----------------------------------------------------------------------------------------------

DUE = Series(
    name="due",
    table=SALES,
    time="due_date",
    measures=(Count(name="sales"), Sum(name="amount", of=SALES.c.amount, money=True)),
    currency="currency",
)


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(sorted(ZONES)),
    length=st.integers(1, 40),
    offsets=st.lists(st.sampled_from([-1, 0, 39, 40]) | st.integers(-2, 42), max_size=20),
    bucket=st.sampled_from(BUCKETS),
)
def test_days_are_counted_as_they_are_in_any_zone(
    shop: Shop, zone: str, length: int, offsets: list[int], bucket: series_pb2.Bucket
) -> None:
    tenant_id, first = new_tenant_id(), ZONES[zone] - 20 * DAY
    sales = [sale(NOW, due=first + offset * DAY) for offset in offsets]
    shop.record(tenant_id, sales)
    period = of_days((first, first + length * DAY), ZoneInfo(zone))
    with shop.call(tenant_id) as call:
        reading = DUE.read(call, period, NOW, bucket=bucket)
        members = Members(Figures(series=DUE, clock=lambda: NOW), rows_of(SALES), TOKENS)
        page, _ = members.page(call, period.shown, "sales", SimpleNamespace(page_size=50, page_token=""))
    expected = [each for each in sales if first <= each.due < first + length * DAY]
    assert {each.id for each in page} == {each.id for each in expected}
    assert reading.metrics[0].source_rows == len(expected)
    for point in reading.series[0].points:
        start, end = (
            each.ToDatetime(UTC).astimezone(period.zone).date() for each in (point.start_time, point.end_time)
        )
        assert point.source_rows == len([each for each in expected if start <= each.due < end])


def test_a_range_that_cuts_a_day_is_refused_where_facts_have_one(shop: Shop) -> None:
    cut = Period(MARCH.start, MARCH.end - timedelta(hours=1), MARCH.zone)
    with shop.call(new_tenant_id()) as call, pytest.raises(RuleViolated) as caught:
        DUE.read(call, cut, NOW)
    assert [(each.field, each.rule) for each in caught.value.violations] == [("range", "time_range.days")]
    with shop.call(new_tenant_id()) as call, pytest.raises(RuleViolated) as caught:
        DUE.read(call, MARCH, NOW, bucket=series_pb2.BUCKET_HOUR)
    assert [(each.field, each.rule) for each in caught.value.violations] == [("bucket", "bucket.days")]


def test_a_short_range_of_days_has_buckets_of_a_day(shop: Shop) -> None:
    day = of_days((date(2026, 3, 1), date(2026, 3, 2)), MARCH.zone)
    with shop.call(new_tenant_id()) as call:
        (series, _) = DUE.read(call, day, NOW, bucket=series_pb2.BUCKET_UNSPECIFIED).series
    assert (series.bucket, len(series.points)) == (series_pb2.BUCKET_DAY, 1)


def test_of_days_the_whole_of_today_is_compared(shop: Shop) -> None:
    tenant_id, now = new_tenant_id(), datetime(2026, 3, 17, 10, tzinfo=UTC)
    due = [date(2026, 2, 16), date(2026, 2, 17), date(2026, 2, 18), date(2026, 3, 17)]
    shop.record(tenant_id, [sale(NOW, due=each) for each in due])
    with shop.call(tenant_id) as call:
        metric = DUE.read(call, MARCH, now, compare=True).metrics[0]
    assert (metric.value, metric.comparison.value) == (1, 2)
    assert metric.comparison.range.end_time.ToDatetime(UTC) == datetime(2026, 2, 18, tzinfo=UTC)


# Members -------------------------------------------------------------------------------------------------------------


def test_a_name_of_no_figure_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound) as caught:
        members_of(shop, new_tenant_id(), "sales", MARCH, "profit")
    assert caught.value.metadata == {"resource_type": "plinth.dev/Metric", "resource": "profit"}


def test_the_range_of_an_answer_leads_to_the_same_figure(shop: Shop) -> None:
    tenant_id = new_tenant_id()
    zone = ZoneInfo("Africa/Cairo")
    period = period_of(TimeRange(period=TimeRange.PERIOD_THIS_MONTH), zone, NOW)
    shop.record(tenant_id, [sale(period.start), sale(period.end)])
    shown = read(shop, tenant_id, period).metrics[0].range
    assert shown.time_zone == "Africa/Cairo"
    assert period_of(shown, ZoneInfo(shown.time_zone), NOW + 90 * DAY) == period


def test_too_many_points_are_refused(shop: Shop) -> None:
    year = of_days((date(2025, 1, 1), date(2026, 1, 1)), ZoneInfo("UTC"))
    with pytest.raises(RuleViolated) as caught:
        read(shop, new_tenant_id(), year, bucket=series_pb2.BUCKET_HOUR)
    assert [(each.field, each.rule) for each in caught.value.violations] == [("bucket", "bucket.points")]


def test_a_percentile_is_the_number_that_the_database_has_computed() -> None:
    median = Percentile(name="median", of=column("seconds"), at=0.5, unit="s", least=1)
    assert median.value({"percentile": 1.5}) == 1.5
    assert median.value({"percentile": None}) is None
