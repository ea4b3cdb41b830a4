"""Trips of the users of a tenant."""

from datetime import date

from google.type.date_pb2 import Date
from plinth.travel.v1 import trip_pb2
from plinth.travel.v1.trip_pb2 import Trip
from sqlalchemy import bindparam, func, literal_column, select, text, update

from server.data.statements import Statement
from server.domains.travel.tables import expenses, trips
from server.kernel.call import Call
from server.kernel.problems import StateForbids, Violation, broken_rules
from server.kernel.queries import OrderTerm
from server.kernel.resources import Resource, Service, States
from server.kernel.time_zones import time_zone_faults

LONGEST = 730
"""Days from the first to the last day of a trip."""
PLANNED, ONGOING, COMPLETED, CANCELLED = (
    *(Trip.STATE_PLANNED, Trip.STATE_ONGOING),
    *(Trip.STATE_COMPLETED, Trip.STATE_CANCELLED),
)
_expense_of_trip = (
    expenses.c.tenant_id == bindparam("tenant", type_=expenses.c.tenant_id.type),
    expenses.c.trip_id == bindparam("trip", type_=expenses.c.trip_id.type),
)
HAS_EXPENSES = Statement(select(expenses.c.id).where(*_expense_of_trip).limit(literal_column("1")))
"""Whether a trip has expenses, deleted ones included, since they can be restored."""

WORTH_ITSELF = Statement(
    update(expenses)
    .where(
        *_expense_of_trip, expenses.c.amount_currency == bindparam("currency", type_=expenses.c.amount_currency.type)
    )
    .values(
        base_amount_minor=expenses.c.amount_minor,
        base_amount_currency=expenses.c.amount_currency,
        version=expenses.c.version + text("1"),
        update_time=func.now(),
    )
)
"""Expenses of a trip in the base currency that it gets are worth their amount. What others are worth is unknown."""


class TripService(Service[Trip]):
    """Trips of the caller."""

    descriptor = trip_pb2.DESCRIPTOR.services_by_name["TripService"]
    resource = Resource(
        Trip,
        trips,
        filterable=(
            *("id", "title", "state", "purpose", "travel_style", "country", "start_date", "end_date", "budget"),
            *("special_requirements", "create_time", "update_time"),
        ),
        sortable=("start_date", "end_date", "title", "create_time"),
        default_order=(OrderTerm("start_date", descending=True),),
        owner="user_id",
        seen_by="travel.trips.manage",
        states=States(
            "state",
            first=(PLANNED, ONGOING, COMPLETED, CANCELLED),
            actions={
                "start": ((PLANNED,), ONGOING),
                "complete": ((ONGOING,), COMPLETED),
                "cancel": ((PLANNED, ONGOING), CANCELLED),
                "restore": ((CANCELLED,), PLANNED),
            },
        ),
    )

    def prepare(self, call: Call, resource: Trip, before: Trip | None) -> None:
        """Sum a trip up in the currency of its budget, unless it names another one."""
        del call, before
        if not resource.base_currency and resource.HasField("budget"):
            resource.base_currency = resource.budget.currency_code

    def check(self, call: Call, resource: Trip, before: Trip | None) -> None:
        """Check what the rules of single fields do not: the days, the zone, the currencies."""
        violations = [
            *_violations_of_days(resource),
            *_violations_of_money(resource),
            *time_zone_faults("trip.time_zone", resource.time_zone, "trip.time_zone"),
        ]
        if violations:
            raise broken_rules(violations)
        if before is not None and before.base_currency and before.base_currency != resource.base_currency:
            self._refuse_new_currency(call, before)

    def after_write(self, call: Call, resource: Trip, before: Trip | None) -> None:
        """Say what the expenses of a trip are worth that gets a base currency."""
        if before is not None and resource.base_currency != before.base_currency:
            currency = resource.base_currency
            call.writes.queue(WORTH_ITSELF, tenant=call.tenant_id, trip=resource.id, currency=currency)

    def _refuse_new_currency(self, call: Call, before: Trip) -> None:
        if call.reads.run(HAS_EXPENSES, tenant=call.tenant_id, trip=before.id).returned:
            raise StateForbids(
                "The expenses of the trip keep what they are worth in its base currency, which cannot be changed.",
                metadata={"resource_type": self.rows.type, "resource": before.id, "state": "HAS_EXPENSES"},
            )


def _violations_of_days(trip: Trip) -> list[Violation]:
    try:
        days = (_day(trip.end_date) - _day(trip.start_date)).days
    except ValueError:
        # Which of them is no day of the calendar is said when they are stored.
        return []
    if days < 0:
        return [Violation("trip.end_date", "is not before the first day", "trip.end_date")]
    return [Violation("trip.end_date", f"is at most {LONGEST} days later", "trip.days")] if days > LONGEST else []


def _violations_of_money(trip: Trip) -> list[Violation]:
    if not trip.HasField("budget"):
        return []
    found = []
    if trip.budget.units < 0 or trip.budget.nanos < 0:
        found.append(Violation("trip.budget", "is not negative", "trip.budget"))
    if trip.budget.currency_code != trip.base_currency:
        found.append(Violation("trip.budget", "is in the base currency of the trip", "trip.budget_currency"))
    return found


def _day(shown: Date) -> date:
    return date(shown.year, shown.month, shown.day)
