"""Trips of a user: their days, their money, their states. Owners and states as such are tried in tests/standard."""

from typing import Any

import pytest
from plinth.travel.v1.trip_pb2 import Trip

from server.domains.travel.trips import TripService
from tests.clients import Rest, Tenant, database, new_member
from tests.domains.travel.instances import FIRST_DAY, new_trip

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


def rules(response: Any) -> dict[str, list[str]]:
    """The rules that a request breaks, by field."""
    assert response.status_code == 422, response.text
    detail = next(each for each in response.json()["details"] if "fieldViolations" in each)
    found: dict[str, list[str]] = {}
    for violation in detail["fieldViolations"]:
        found.setdefault(violation["field"], []).append(violation["reason"])
    return found


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


def test_a_trip_has_these_states_and_actions() -> None:
    states = TripService.resource.states
    assert states is not None

    def name(state: int) -> str:
        return str(Trip.State.Name(state)).removeprefix("STATE_")

    found = {action: (tuple(map(name, sources)), name(to)) for action, (sources, to) in states.actions.items()}
    assert (found, tuple(map(name, states.first))) == (ACTIONS, STATES)


# Leaving --------------------------------------------------------------------------------------------------------------


def test_what_a_member_leaves_behind_stays_for_those_who_manage_it(tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    person = Rest(tenant.stack, session.access_token)
    path = f"{TRIPS}/{made(person, TRIPS, new_trip())['id']}"
    with database(tenant.stack) as connection:
        connection.execute("DELETE FROM memberships WHERE tenant_id = %s AND user_id = %s", (tenant.id, account.id))
        connection.execute("UPDATE tenants SET access_version = access_version + 1 WHERE id = %s", (tenant.id,))
    assert person.get(path).status_code in (401, 403, 404)
    assert tenant.rest.get(path).json()["userId"] == account.id
    assert tenant.rest.delete(path).status_code == 204
