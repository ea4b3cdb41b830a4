"""Tables of travel."""

from sqlalchemy import ARRAY, BigInteger, Column, Date, ForeignKeyConstraint, Index, Integer, SmallInteger, Text, text

from server.data.quotas import limited_by_plan
from server.data.tables import tenant_table, uuid_column

_EMPTY = text("''")
trips = tenant_table(
    "trips",
    uuid_column("user_id"),
    Column("title", Text, nullable=False),
    Column("destination_name", Text, nullable=False, server_default=_EMPTY),
    Column("country", Text, nullable=False, server_default=_EMPTY),
    Column("time_zone", Text, nullable=False, server_default=_EMPTY),
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("purpose", SmallInteger, nullable=False, server_default=text("0")),
    Column("travel_style", SmallInteger, nullable=False, server_default=text("0")),
    Column("group_size", Integer, nullable=False, server_default=text("0")),
    Column("budget_minor", BigInteger),
    Column("budget_currency", Text),
    Column("base_currency", Text, nullable=False, server_default=_EMPTY),
    Column("special_requirements", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("satisfaction", SmallInteger),
    Column("feedback", Text, nullable=False, server_default=_EMPTY),
    soft_delete=True,
)
limited_by_plan(trips, "trips")
for _name in ("start_date", "end_date", "title", "create_time"):
    Index(f"trips_user_{_name}_idx", trips.c.tenant_id, trips.c.user_id, trips.c[_name], trips.c.id)
    Index(f"trips_{_name}_idx", trips.c.tenant_id, trips.c[_name], trips.c.id)

expenses = tenant_table(
    "expenses",
    uuid_column("user_id"),
    uuid_column("trip_id"),
    Column("category", SmallInteger, nullable=False),
    Column("description", Text, nullable=False, server_default=_EMPTY),
    Column("amount_minor", BigInteger, nullable=False),
    Column("amount_currency", Text, nullable=False),
    Column("spend_date", Date, nullable=False),
    Column("place", Text, nullable=False, server_default=_EMPTY),
    Column("payment_method", SmallInteger, nullable=False, server_default=text("0")),
    # Text, because a decimal number has more digits than a double.
    Column("exchange_rate", Text, nullable=False, server_default=_EMPTY),
    Column("base_amount_minor", BigInteger),
    Column("base_amount_currency", Text),
    ForeignKeyConstraint(["tenant_id", "trip_id"], ["trips.tenant_id", "trips.id"], ondelete="CASCADE"),
    soft_delete=True,
)
_amount = (expenses.c.amount_currency, expenses.c.amount_minor)
for _name, _columns in (
    ("spend_date", (expenses.c.spend_date,)),
    ("amount", _amount),
    ("create_time", (expenses.c.create_time,)),
):
    Index(f"expenses_user_{_name}_idx", expenses.c.tenant_id, expenses.c.user_id, *_columns, expenses.c.id)
    Index(f"expenses_{_name}_idx", expenses.c.tenant_id, *_columns, expenses.c.id)
Index("expenses_trip_id_idx", expenses.c.tenant_id, expenses.c.trip_id, expenses.c.spend_date, expenses.c.id)
