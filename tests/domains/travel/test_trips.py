"""Trips of a user: whose they are, their days, their money, their states."""

from itertools import product
from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_member, problem
from tests.domains.travel.instances import FIRST_DAY, new_expense, new_trip

TRIPS, EXPENSES = "/api/v1/trips", "/api/v1/expenses"
STATES = ("PLANNED", "ONGOING", "COMPLETED", "CANCELLED")
ACTIONS = {
    "start": (("PLANNED",), "ONGOING"),
    "complete": (("ONGOING",), "COMPLETED"),
    "cancel": (("PLANNED", "ONGOING"), "CANCELLED"),
    "restore": (("CANCELLED",), "PLANNED"),
}


def made(rest: Rest, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Make something."""
    response = rest.post(path, body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def trip_in(rest: Rest, state: str) -> dict[str, Any]:
    """A trip in a state."""
    return made(rest, TRIPS, new_trip() | {"state": f"STATE_{state}"})


def rules(response: Any) -> dict[str, list[str]]:
    """The rules that a request breaks, by field."""
    assert response.status_code == 422, response.text
    detail = next(each for each in response.json()["details"] if "fieldViolations" in each)
    found: dict[str, list[str]] = {}
    for violation in detail["fieldViolations"]:
        found.setdefault(violation["field"], []).append(violation["reason"])
    return found


# Whose they are -------------------------------------------------------------------------------------------------------


def test_a_trip_belongs_to_who_made_it(tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    rest = Rest(tenant.stack, session.access_token)
    trip = made(rest, TRIPS, new_trip())
    assert trip["userId"] == account.id
    assert [each["id"] for each in rest.get(TRIPS).json()["trips"]] == [trip["id"]]
    # The owner of the tenant sees it, and it is not among the owner's own.
    assert tenant.rest.get(f"{TRIPS}/{trip['id']}").json() == trip
    assert tenant.rest.get(TRIPS).json()["trips"] == []
    for whose in (account.id, "-"):
        assert [each["id"] for each in tenant.rest.get(TRIPS, {"userId": whose}).json()["trips"]] == [trip["id"]]


def test_another_member_finds_nothing_and_may_not_list(tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    theirs = made(Rest(tenant.stack, session.access_token), TRIPS, new_trip())
    rest = Rest(tenant.stack, new_member(tenant, "member")[1].access_token)
    path = f"{TRIPS}/{theirs['id']}"
    answers = [
        *(rest.get(path), rest.patch(path, {"title": "Mine"}), rest.delete(path), rest.post(f"{path}/start")),
        *(rest.post(EXPENSES, new_expense(theirs["id"])), rest.get(EXPENSES, {"tripId": theirs["id"]})),
        rest.get(f"{EXPENSES}/summary", {"tripId": theirs["id"]}),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    for whose in (account.id, "-"):
        denied = rest.get(TRIPS, {"userId": whose})
        assert (denied.status_code, problem(denied).metadata["permission"]) == (403, "travel.trips.manage")


def test_an_api_key_owns_nothing_and_manages_what_others_own(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip())
    permissions = ["travel.trips.read", "travel.trips.create", "travel.trips.update"]
    plain, manager = [
        Rest(tenant.stack, made(tenant.rest, f"{tenant.path}/api-keys", {"name": "k", "permissions": held})["key"])
        for held in (permissions, [*permissions, "travel.trips.manage"])
    ]
    path = f"{TRIPS}/{trip['id']}"
    for refused in (plain.get(path), plain.get(TRIPS), plain.post(TRIPS, new_trip()), manager.post(TRIPS, new_trip())):
        assert (refused.status_code, problem(refused).reason) == (403, "USER_REQUIRED")
    assert manager.patch(path, {"title": "Managed"}).json()["userId"] == trip["userId"]
    assert [each["id"] for each in manager.get(TRIPS, {"userId": "-"}).json()["trips"]] == [trip["id"]]
    assert problem(manager.get(TRIPS)).reason == "USER_REQUIRED"


def test_what_a_manager_adds_to_a_trip_belongs_to_its_user(tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    trip = made(Rest(tenant.stack, session.access_token), TRIPS, new_trip())
    assert made(tenant.rest, EXPENSES, new_expense(trip["id"]))["userId"] == account.id


def test_nobody_chooses_an_owner(tenant: Tenant) -> None:
    other = new_member(tenant, "member")[0]
    assert rules(tenant.rest.post(TRIPS, new_trip() | {"userId": other.id})) == {"userId": ["read_only"]}


# Days, zones, money ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"endDate": {"year": 2026, "month": 11, "day": 30}}, {"endDate": ["trip.end_date"]}),
        ({"endDate": {"year": 2028, "month": 12, "day": 1}}, {"endDate": ["trip.days"]}),
        ({"startDate": {"year": 2026, "month": 2, "day": 30}}, {"startDate": ["date.day"]}),
        ({"timeZone": "Mars/Olympus"}, {"timeZone": ["trip.time_zone"]}),
        ({"budget": {"currencyCode": "SAR", "units": "-1"}}, {"budget": ["trip.budget"]}),
        ({"budget": {"currencyCode": "SAR", "nanos": 1}}, {"budget": ["money.precision"]}),
        ({"baseCurrency": "EUR"}, {"budget": ["trip.budget_currency"]}),
        ({"baseCurrency": "euro"}, {"baseCurrency": ["string.max_len", "string.currency_code"]}),
        ({"title": ""}, {"title": ["required"]}),
        ({"startDate": None}, {"startDate": ["required"]}),
    ],
)
def test_what_is_wrong_is_named(tenant: Tenant, change: dict[str, Any], broken: dict[str, list[str]]) -> None:
    assert rules(tenant.rest.post(TRIPS, new_trip() | change)) == broken


def test_days_are_days_at_the_destination_wherever_they_are_read(tenant: Tenant) -> None:
    for zone in ("Pacific/Pago_Pago", "Pacific/Kiritimati"):
        trip = made(tenant.rest, TRIPS, new_trip() | {"timeZone": zone})
        assert tenant.rest.get(f"{TRIPS}/{trip['id']}").json()["startDate"] == FIRST_DAY
    found = tenant.rest.get(TRIPS, {"filter": "start_date = 2026-12-01", "orderBy": "endDate desc"}).json()["trips"]
    assert len(found) == 2


def test_trips_are_found_by_money_and_by_what_lists_hold(tenant: Tenant) -> None:
    trip = made(tenant.rest, TRIPS, new_trip() | {"specialRequirements": ["wheelchair", "halal"]})
    made(tenant.rest, TRIPS, new_trip() | {"budget": {"currencyCode": "EUR", "units": "2000"}})
    for condition in ('budget >= "1000 SAR"', "specialRequirements:halal", 'budget:* AND NOT budget > "1 EUR"'):
        found = tenant.rest.get(TRIPS, {"filter": condition}).json()["trips"]
        assert [each["id"] for each in found] == [trip["id"]], condition


# States ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "action"), list(product(STATES, ACTIONS)))
def test_an_action_is_done_where_it_is_allowed_and_nowhere_else(tenant: Tenant, state: str, action: str) -> None:
    trip = trip_in(tenant.rest, state)
    sources, target = ACTIONS[action]
    answer = tenant.rest.post(f"{TRIPS}/{trip['id']}/{action}")
    if state in sources:
        assert (answer.status_code, answer.json()["state"]) == (200, f"STATE_{target}")
    else:
        found = problem(answer)
        assert (answer.status_code, found.reason, found.metadata["state"]) == (409, "STATE_FORBIDS", state)
        assert found.metadata["allowed"] == ",".join(allowed(state))


@pytest.mark.parametrize(("state", "target"), list(product(STATES, STATES)))
def test_an_update_changes_the_state_as_some_action_does(tenant: Tenant, state: str, target: str) -> None:
    trip = trip_in(tenant.rest, state)
    answer = tenant.rest.patch(f"{TRIPS}/{trip['id']}", {"state": f"STATE_{target}"})
    if state == target or target in allowed(state):
        assert (answer.status_code, answer.json()["state"]) == (200, f"STATE_{target}")
    else:
        assert (answer.status_code, problem(answer).reason) == (409, "STATE_FORBIDS")
        assert tenant.rest.get(f"{TRIPS}/{trip['id']}").json() == trip


def allowed(state: str) -> list[str]:
    """The states that a trip in this one can get."""
    return [target for sources, target in ACTIONS.values() if state in sources]
