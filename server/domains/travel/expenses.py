"""Expenses of trips, and their sums."""

from decimal import ROUND_HALF_EVEN, Decimal

from google.type.money_pb2 import Money
from plinth.travel.v1 import expense_pb2
from plinth.travel.v1.expense_pb2 import Expense, ExpenseSummary
from sqlalchemy import bindparam, select

from server.data.statements import Statement
from server.domains.travel.summary import SUMS, summary_of
from server.domains.travel.tables import expenses, trips
from server.domains.travel.trips import TripService
from server.kernel.call import Call
from server.kernel.messages import MOST_MINOR, NoMoney, decimal_places, fill_money, minor_units
from server.kernel.problems import Violation, broken_rules
from server.kernel.queries import OrderTerm
from server.kernel.resources import Hooks, Parent, ReadRows, Resource, Service

MOST = 5_000
BASE_CURRENCY = Statement(
    select(trips.c.base_currency).where(
        trips.c.tenant_id == bindparam("tenant", type_=trips.c.tenant_id.type),
        trips.c.id == bindparam("trip", type_=trips.c.id.type),
    )
)


class ExpenseService(Service[Expense]):
    """Expenses of the caller's trips."""

    descriptor = expense_pb2.DESCRIPTOR.services_by_name["ExpenseService"]
    resource = Resource(
        Expense,
        expenses,
        filterable=(
            *("id", "trip_id", "category", "amount", "spend_date", "payment_method", "place"),
            *("create_time", "update_time"),
        ),
        sortable=("spend_date", "amount", "create_time"),
        default_order=(OrderTerm("spend_date", descending=True),),
        owner="user_id",
        seen_by="travel.trips.manage",
        parent=Parent("trip_id", TripService.resource),
        most=MOST,
    )

    def __init__(self) -> None:
        super().__init__()
        self._trips = ReadRows(Hooks(), TripService.resource)

    def prepare(self, call: Call, resource: Expense, before: Expense | None) -> None:
        """Compute what an expense is worth in the base currency of its trip."""
        same = before is not None and (before.amount, before.exchange_rate) == (resource.amount, resource.exchange_rate)
        if same:
            return
        base = str(call.reads.run(BASE_CURRENCY, tenant=call.tenant_id, trip=resource.trip_id).value())
        resource.ClearField("base_amount")
        try:
            worth = worth_of(resource.amount, resource.exchange_rate, base)
        except NoMoney:
            # The amount is refused when it is stored, with its rule.
            return
        if worth is not None:
            fill_money(resource.base_amount, worth, base)

    def check(self, call: Call, resource: Expense, before: Expense | None) -> None:
        """Refuse an expense of nothing."""
        del call, before
        if not resource.amount.units and not resource.amount.nanos:
            raise broken_rules([Violation("expense.amount", "is not 0", "expense.amount")])

    def get_expense_summary(self, call: Call, request: expense_pb2.GetExpenseSummaryRequest) -> ExpenseSummary:
        """Sum up a trip."""
        trip = self._trips.get(call, request.trip_id)
        rows = call.reads.run(SUMS, tenant=call.tenant_id, trip=trip.id).all()
        return summary_of(trip, rows)


def worth_of(amount: Money, rate: str, base: str) -> int | None:
    """What an amount is worth in minor units of the base currency; None if that is unknown.

    Raises NoMoney, and RuleViolated for a rate that makes too much of it.
    """
    minor = minor_units(amount)
    if not base or (amount.currency_code != base and not rate):
        return None
    if amount.currency_code == base:
        return minor
    places = decimal_places()
    worth = Decimal(minor) * Decimal(rate) * Decimal(10) ** (places[base] - places[amount.currency_code])
    if abs(worth) > MOST_MINOR:
        raise broken_rules([Violation("expense.exchange_rate", f"makes more {base} than can be stored", "money.range")])
    return int(worth.to_integral_value(ROUND_HALF_EVEN))
