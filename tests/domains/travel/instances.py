"""How a user's trips and their expenses are made and changed."""

from itertools import count
from typing import Any

from tests.clients import Tenant, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made

FIRST_DAY = {"year": 2026, "month": 12, "day": 1}
LAST_DAY = {"year": 2026, "month": 12, "day": 9}
# No expense is worth what another one is, so that a sum tells which are in it.
UNITS = count(12)


def new_trip(title: str = "Planted") -> dict[str, Any]:
    """The JSON of a new trip."""
    budget = {"currencyCode": "SAR", "units": "1000"}
    return {"title": title, "startDate": FIRST_DAY, "endDate": LAST_DAY, "timeZone": "Asia/Riyadh", "budget": budget}


def new_expense(trip_id: str = "") -> dict[str, Any]:
    """The JSON of a new expense, of a trip if one is named."""
    amount = {"currencyCode": "EUR", "units": str(next(UNITS)), "nanos": 500_000_000}
    there = {"tripId": trip_id} if trip_id else {}
    return there | {"category": "CATEGORY_FOOD", "amount": amount, "spendDate": FIRST_DAY, "description": "Planted"}


def _trip(tenant: Tenant) -> Named:
    trip = made(tenant, "/api/v1/trips", new_trip(f"{MARK}-{tenant.subdomain}"))
    return {"trip_id": trip["id"], "user_id": trip["userId"], "etag": trip["etag"]}


def _expense(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next."""
    trip_id = _trip(tenant)["trip_id"]
    expense, _ = (made(tenant, "/api/v1/expenses", new_expense(trip_id)) for _ in range(2))
    named = {"expense_id": expense["id"], "trip_id": trip_id, "user_id": expense["userId"]}
    return named | {"etag": expense["etag"]}


INSTANCES = {
    "plinth.travel.v1.Trip": Instance(_trip, lambda: new_trip(unique("Planted"))),
    "plinth.travel.v1.Expense": Instance(_expense, new_expense),
}
MUTATIONS = (
    Mutation("TripService/CreateTrip"),
    Mutation("TripService/UpdateTrip"),
    Mutation("TripService/CancelTrip"),
    Mutation("TripService/RestoreTrip", before="CancelTrip"),
    Mutation("TripService/StartTrip"),
    Mutation("TripService/CompleteTrip", before="StartTrip"),
    Mutation("TripService/DeleteTrip"),
    Mutation("TripService/UndeleteTrip", before="DeleteTrip"),
    Mutation("ExpenseService/CreateExpense"),
    Mutation("ExpenseService/UpdateExpense"),
    Mutation("ExpenseService/DeleteExpense"),
    Mutation("ExpenseService/UndeleteExpense", before="DeleteExpense"),
)
