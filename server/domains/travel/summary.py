"""The summary of a trip's expenses: every sum is folded from one statement's rows, by category, day and currency."""

from collections import defaultdict
from collections.abc import Iterable

from google.type.date_pb2 import Date
from plinth.travel.v1.expense_pb2 import ExpenseSummary
from plinth.travel.v1.trip_pb2 import Trip
from sqlalchemy import bindparam, func, select

from server.data.statements import ColumnValue, Row, Statement
from server.domains.travel.tables import expenses
from server.kernel.messages import fill_money, minor_units

_own = (
    expenses.c.tenant_id == bindparam("tenant", type_=expenses.c.tenant_id.type),
    expenses.c.trip_id == bindparam("trip", type_=expenses.c.trip_id.type),
    expenses.c.delete_time.is_(None),
)
_kinds = (expenses.c.category, expenses.c.spend_date, expenses.c.amount_currency)
SUMS = Statement(
    select(
        *_kinds,
        func.sum(expenses.c.amount_minor).cast(expenses.c.amount_minor.type).label("amount"),
        func.sum(expenses.c.base_amount_minor).cast(expenses.c.amount_minor.type).label("worth"),
        func.count().label("count"),
        (func.count() - func.count(expenses.c.base_amount_minor)).label("unconverted"),
    )
    .where(*_own)
    .group_by(*_kinds)
    .order_by(expenses.c.spend_date, expenses.c.category, expenses.c.amount_currency)
)
"""Takes `tenant` and `trip`: a row for each category, day and currency."""

Total = ExpenseSummary.Total


def summary_of(trip: Trip, rows: Iterable[Row]) -> ExpenseSummary:
    """The summary of a trip with these rows of SUMS."""
    rows = list(rows)
    summary = ExpenseSummary(trip_id=trip.id, unconverted=sum(row["unconverted"] for row in rows))
    summary.totals.extend(total for _, total in _folded(rows))
    for category, total in _folded(rows, "category"):
        summary.categories.add(category=category, total=total)
    for day, total in _folded(rows, "spend_date"):
        summary.days.add(day=Date(year=day.year, month=day.month, day=day.day), total=total)
    if trip.base_currency:
        _compare(summary, trip, sum(row["worth"] or 0 for row in rows))
    return summary


def _compare(summary: ExpenseSummary, trip: Trip, spent: int) -> None:
    """Say what was spent in the base currency, and what is left of the budget where everything is known."""
    fill_money(summary.spent, spent, trip.base_currency)
    if not trip.HasField("budget"):
        return
    summary.budget.CopyFrom(trip.budget)
    if summary.unconverted:
        return
    budget = minor_units(trip.budget)
    fill_money(summary.remaining, budget - spent, trip.base_currency)
    if budget:
        summary.percent = 100 * spent / budget


def _folded(rows: list[Row], by: str = "") -> list[tuple[ColumnValue, Total]]:
    """The rows added up by currency, and by a column beside; each sum with the value of that column."""
    groups: dict[tuple[ColumnValue, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get(by), row["amount_currency"]].append(row)
    found = []
    for (value, currency), members in groups.items():
        total = Total(
            expenses=sum(row["count"] for row in members), unconverted=sum(row["unconverted"] for row in members)
        )
        fill_money(total.amount, sum(row["amount"] for row in members), currency)
        found.append((value, total))
    return found
