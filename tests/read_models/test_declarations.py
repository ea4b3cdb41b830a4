"""Declarations of read models: what is faulty keeps the server from starting, and how a figure is computed."""

from typing import Any

import pytest
from google.type.money_pb2 import Money
from sqlalchemy import Text, bindparam

from server.data.audit import audit_entries
from server.domains.sites.tables import pages
from server.domains.tenancy.tables import roles, tenants
from server.kernel.messages.money import fill_money, whole_units
from server.kernel.read_models import Average, Count, Distinct, Series, SeriesFault, Sum
from tests.read_models.sales import described, series_over

SALES = described("sales")
COUNT = Count(name="rows")


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"measures": ()}, "name each of its measures, one at least, and none twice"),
        ({"measures": (COUNT, COUNT)}, "name each of its measures, one at least, and none twice"),
        ({"table": tenants, "time": "create_time"}, "tenants has no tenant_id"),
        ({"time": "day"}, "sales.day is neither a time_column nor a Date, or may be null"),
        ({"time": "buyer"}, "sales.buyer is neither a time_column nor a Date, or may be null"),
        ({"time": "delete_time"}, "sales.delete_time is neither a time_column nor a Date, or may be null"),
        ({"table": roles, "time": "update_time"}, "roles needs an index on (tenant_id, update_time)"),
        (
            {"measures": (Sum(name="names", of=SALES.c.buyer),)},
            "names adds up what is neither an Integer nor a Double: cast it",
        ),
        (
            {"measures": (Average(name="names", of=SALES.c.buyer),)},
            "names adds up what is neither an Integer nor a Double: cast it",
        ),
        (
            {"measures": (Sum(name="revenue", of=SALES.c.amount, money=True),)},
            "revenue is money: name the column of its currency",
        ),
        (
            {"measures": (Sum(name="revenue", of=SALES.c.amount, money=True, unit="s"),), "currency": "currency"},
            "revenue is money, whose unit is its currency",
        ),
        ({"currency": "buyer"}, "sales.buyer is no text that is not null"),
        ({"currency": "coin"}, "sales.coin is no text that is not null"),
    ],
)
def test_a_faulty_read_model_is_refused(facts: dict[str, Any], fault: str) -> None:
    usual: dict[str, Any] = {"name": "odd", "table": SALES, "time": "sale_time", "measures": (COUNT,)}
    with pytest.raises(SeriesFault) as caught:
        Series(**usual | facts)
    assert f"read model odd: {fault}" in str(caught.value).splitlines()


@pytest.mark.parametrize(("table", "time"), [(audit_entries, "create_time"), (pages, "create_time")])
def test_an_index_over_all_rows_is_enough(table: Any, time: str) -> None:
    assert Series(name="sound", table=table, time=time, measures=(COUNT,)).moment is table.c[time]


def test_a_definition_says_how_a_figure_is_computed() -> None:
    found = {name: each.formula for name, each in series_over("sales").definitions.items()}
    assert found == {
        "sales": "count() where amount > 0",
        "refunds": "count() where amount > 0 and refunded",
        "buyers": "count(distinct buyer) where amount > 0",
        "seconds": "sum(seconds) where amount > 0",
        "mean": "sum(seconds) / count() where amount > 0",
        "median": "percentile(seconds, 0.5) where amount > 0",
        "refund_rate": "count(where refunded) / count() where amount > 0",
        "revenue": "sum(amount) where amount > 0",
        "basket": "sum(amount) / count() where amount > 0",
    }
    assert series_over("facts_sale").definitions["sales"].sources == ["facts_sale"]


def test_what_depends_on_the_caller_stays_a_parameter_of_the_formula() -> None:
    mine = SALES.c.buyer == bindparam("me", type_=Text())
    series = Series(name="mine", table=SALES, time="sale_time", where=mine, measures=(COUNT,))
    assert series.definitions["rows"].formula == "count() where buyer = :me"


@pytest.mark.parametrize(
    ("minor", "currency", "units", "nanos"),
    [
        (1999, "EUR", 19, 990_000_000),
        (-1999, "EUR", -19, -990_000_000),
        (-5, "EUR", 0, -50_000_000),
        (500, "JPY", 500, 0),
        (1, "KWD", 0, 1_000_000),
        (12345, "UYW", 1, 234_500_000),
    ],
)
def test_minor_units_are_those_of_the_currency(minor: int, currency: str, units: int, nanos: int) -> None:
    money = Money()
    fill_money(money, minor, currency)
    assert money == Money(currency_code=currency, units=units, nanos=nanos)
    assert whole_units(minor, currency) == units + nanos / 1e9


def test_a_gap_is_what_the_measure_declares() -> None:
    assert Count(name="sales").is_zero_without_facts
    assert not Count(name="readings", empty_is_zero=False).is_zero_without_facts
    assert Distinct(name="buyers", of=SALES.c.buyer).is_zero_without_facts
    assert not Average(name="mean", of=SALES.c.seconds).is_zero_without_facts
