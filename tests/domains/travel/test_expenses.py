"""Expenses of trips: what they are worth, and what they add up to."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from server.domains.travel.expenses import worth_of
from server.kernel.messages import fill_money
from tests.clients import Rest, Tenant, problem
from tests.domains.travel.instances import new_expense, new_trip
from tests.domains.travel.test_trips import EXPENSES, TRIPS, made, rules


def amount(currency: str, minor: int) -> Any:
    """An amount as JSON."""
    money = Money()
    fill_money(money, minor, currency)
    return {"currencyCode": currency, "units": str(money.units), "nanos": money.nanos}


def minor(money: dict[str, Any]) -> int:
    """An amount in hundredths."""
    return int(money["units"]) * 100 + int(money["nanos"]) // 10_000_000


def of_total(figure: dict[str, Any]) -> tuple[str]:
    """The currency of a figure."""
    return (str(figure["total"]["amount"]["currencyCode"]),)


def spend(rest: Rest, trip: dict[str, Any], currency: str, cents: int, **more: Any) -> dict[str, Any]:
    """Make an expense."""
    return made(rest, EXPENSES, new_expense(trip["id"]) | {"amount": amount(currency, cents)} | more)


def summary(rest: Rest, trip: dict[str, Any]) -> dict[str, Any]:
    """The sums of a trip."""
    answer = rest.get(f"{EXPENSES}/summary", {"tripId": trip["id"]})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_expense_is_worth_its_amount_times_the_rate(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip())
    assert spend(tenant.rest, trip, "SAR", 100)["baseAmount"] == amount("SAR", 100)
    expense = spend(tenant.rest, trip, "EUR", 1250, exchangeRate="4.0712")
    assert minor(expense["baseAmount"]) == 5089
    unknown = spend(tenant.rest, trip, "USD", 100)
    assert "baseAmount" not in unknown
    path = f"{EXPENSES}/{unknown['id']}"
    assert minor(tenant.rest.patch(path, {"exchangeRate": "3.75"}).json()["baseAmount"]) == 375
    assert "baseAmount" not in tenant.rest.patch(path, {"exchangeRate": None}).json()


@given(
    minor_units=st.integers(-(10**9), 10**9),
    rate=st.decimals(min_value="0.0001", max_value="1000", places=4),
    pair=st.permutations(["EUR", "JPY", "KWD"]),
)
def test_worth_is_exact_to_half_a_minor_unit(minor_units: int, rate: Decimal, pair: list[str]) -> None:
    currency, base, _ = pair
    money = Money()
    fill_money(money, minor_units, currency)
    places = {"EUR": 2, "JPY": 0, "KWD": 3}
    exact = Decimal(minor_units).scaleb(-places[currency]) * rate
    worth = worth_of(money, str(rate), base)
    assert worth is not None
    assert abs(Decimal(worth).scaleb(-places[base]) - exact) <= Decimal("0.5").scaleb(-places[base])


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"amount": {"currencyCode": "EUR"}}, {"amount": ["expense.amount"]}),
        ({"amount": {"currencyCode": "EUR", "nanos": 1}}, {"amount": ["money.precision"]}),
        ({"exchangeRate": "4,07"}, {"exchangeRate": ["string.pattern"]}),
        (
            {"amount": {"currencyCode": "EUR", "units": "9000000000"}, "exchangeRate": "9999999999"},
            {"exchangeRate": ["money.range"]},
        ),
        ({"category": "CATEGORY_UNSPECIFIED"}, {"category": ["required"]}),
        ({"tripId": ""}, {"tripId": ["required"]}),
        ({"tripId": "nowhere"}, {"tripId": ["string.uuid"]}),
    ],
)
def test_what_is_wrong_is_named(tenant: Tenant, change: dict[str, Any], broken: dict[str, list[str]]) -> None:
    trip = made(tenant.rest, TRIPS, new_trip())
    assert rules(tenant.rest.post(EXPENSES, new_expense(trip["id"]) | change)) == broken


def test_a_trip_that_is_not_there_has_no_sums(tenant: Tenant) -> None:
    answer = tenant.rest.get(f"{EXPENSES}/summary", {"tripId": "01890000-0000-7000-8000-000000000000"})
    assert (answer.status_code, problem(answer).metadata["resource_type"]) == (404, "plinth.dev/Trip")


def test_every_sum_is_that_of_its_expenses(tenant: Tenant) -> None:
    """No mock data: each figure is folded here from the expenses that are listed."""
    trip = made(tenant.rest, TRIPS, new_trip())
    facts = [
        *(("SAR", 10_000, "FOOD", 1, ""), ("SAR", -2_500, "SHOPPING", 2, ""), ("EUR", 1_250, "FOOD", 1, "4.07")),
        *(("EUR", 999, "FOOD", 3, ""), ("USD", 5_000, "ACTIVITIES", 2, "3.75")),
    ]
    for currency, cents, category, day, rate in facts:
        when = {"spendDate": {"year": 2026, "month": 12, "day": day}, "category": f"CATEGORY_{category}"}
        spend(tenant.rest, trip, currency, cents, **when, exchangeRate=rate)
    deleted = spend(tenant.rest, trip, "SAR", 77)
    assert tenant.rest.delete(f"{EXPENSES}/{deleted['id']}").status_code == 204
    expenses = tenant.rest.get(EXPENSES, {"tripId": trip["id"], "pageSize": 100}).json()["expenses"]
    sums: dict[str, Counter[Any]] = {"totals": Counter(), "categories": Counter(), "days": Counter()}
    for each in expenses:
        currency, cents = each["amount"]["currencyCode"], minor(each["amount"])
        sums["totals"][currency] += cents
        sums["categories"][each["category"], currency] += cents
        sums["days"][each["spendDate"]["day"], currency] += cents
    found = summary(tenant.rest, trip)
    assert {each["amount"]["currencyCode"]: minor(each["amount"]) for each in found["totals"]} == sums["totals"]
    by_category = {(each["category"], *of_total(each)): minor(each["total"]["amount"]) for each in found["categories"]}
    by_day = {(each["day"]["day"], *of_total(each)): minor(each["total"]["amount"]) for each in found["days"]}
    assert (by_category, by_day) == (sums["categories"], sums["days"])
    spent = sum(minor(each["baseAmount"]) for each in expenses if "baseAmount" in each)
    assert (minor(found["spent"]), found["unconverted"]) == (spent, 1)
    # Nobody knows what is left while one of them is worth an unknown amount.
    assert "remaining" not in found
    assert "percent" not in found


def test_what_is_left_of_the_budget(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip())
    spend(tenant.rest, trip, "SAR", 25_000)
    found = summary(tenant.rest, trip)
    assert (minor(found["remaining"]), found["percent"]) == (75_000, 25.0)
    assert tenant.rest.patch(f"{TRIPS}/{trip['id']}", {"budget": amount("SAR", 20_000)}).status_code == 200
    found = summary(tenant.rest, trip)
    assert (minor(found["remaining"]), found["percent"]) == (-5_000, 125.0)


def test_a_trip_without_expenses_has_no_sums(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip() | {"budget": None})
    found = summary(tenant.rest, trip)
    assert (found["totals"], found["categories"], found["days"]) == ([], [], [])
    assert not {"spent", "budget", "remaining", "percent"} & found.keys()


def test_the_base_currency_is_kept_once_expenses_are_worth_something_in_it(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip() | {"budget": None})
    path = f"{TRIPS}/{trip['id']}"
    spend(tenant.rest, trip, "EUR", 100)
    assert tenant.rest.patch(path, {"baseCurrency": "EUR"}).status_code == 200
    assert minor(summary(tenant.rest, trip)["spent"]) == 100
    kept = tenant.rest.patch(path, {"baseCurrency": "USD"})
    assert (kept.status_code, problem(kept).reason) == (409, "STATE_FORBIDS")


def test_expenses_are_sorted_by_currency_and_then_by_amount(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip())
    amounts = [("SAR", 300), ("EUR", 500), ("SAR", -100), ("EUR", 200), ("SAR", 200)]
    for currency, cents in amounts:
        spend(tenant.rest, trip, currency, cents)
    found: list[tuple[str, int]] = []
    query: dict[str, Any] = {"tripId": trip["id"], "orderBy": "amount desc", "pageSize": 2}
    while query.get("pageToken") != "":
        page = tenant.rest.get(EXPENSES, query).json()
        found += [(each["amount"]["currencyCode"], minor(each["amount"])) for each in page["expenses"]]
        query["pageToken"] = page["nextPageToken"]
    assert found == sorted(amounts, reverse=True)
