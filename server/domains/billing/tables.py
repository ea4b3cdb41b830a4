"""Tables of billing: plans, and the subscriptions to them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.tables import global_table, resource_columns, tenant_table, time_column, uuid_column

_FALSE = text("false")
HIDDEN = ("subscriber_kind", "subscriber_id", "anchor_time")
"""Columns that a subscription does not show."""
plans = global_table(
    "plans",
    uuid_column("id", primary_key=True),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    # NULL if it costs nothing.
    Column("price_minor", BigInteger, nullable=True),
    Column("price_currency", Text, nullable=True),
    Column("interval", SmallInteger, nullable=False),
    Column("trial_days", Integer, nullable=False, server_default=text("0")),
    # The most of each kind: `[{"name": "pages", "most": 50}]` (server/data/quotas.py).
    Column("quotas", JSONB, nullable=False, server_default=text("'[]'")),
    Column("self_service", Boolean, nullable=False, server_default=_FALSE),
    Column("is_default", Boolean, nullable=False, server_default=_FALSE),
    Column("retired", Boolean, nullable=False, server_default=_FALSE),
    *resource_columns(soft_delete=False),
)
Index("plans_code_key", plans.c.code, unique=True)
Index("plans_is_default_key", plans.c.is_default, unique=True, postgresql_where=plans.c.is_default)
Index("plans_create_time_idx", plans.c.create_time, plans.c.id)

subscriptions = tenant_table(
    "subscriptions",
    # Who subscribes. 1 is the tenant itself.
    Column("subscriber_kind", SmallInteger, nullable=False),
    uuid_column("subscriber_id"),
    uuid_column("plan_id"),
    Column("quantity", Integer, nullable=False, server_default=text("1")),
    Column("status", SmallInteger, nullable=False),
    Column("price_minor", BigInteger, nullable=True),
    Column("price_currency", Text, nullable=True),
    Column("interval", SmallInteger, nullable=False),
    time_column("trial_end_time", nullable=True),
    # Periods are counted from here, so that one that began on the 31st does not end on the 28th for ever.
    time_column("anchor_time"),
    time_column("period_start_time"),
    time_column("period_end_time"),
    Column("cancel_at_period_end", Boolean, nullable=False, server_default=_FALSE),
    time_column("cancel_time", nullable=True),
    time_column("end_time", nullable=True),
    ForeignKeyConstraint(["plan_id"], ["plans.id"]),
)
_s = subscriptions.c
IS_LIVE = _s.end_time.is_(None)
Index(
    "subscriptions_subscriber_key",
    *(_s.tenant_id, _s.subscriber_kind, _s.subscriber_id),
    unique=True,
    postgresql_where=IS_LIVE,
)
Index("subscriptions_create_time_idx", _s.tenant_id, _s.create_time, _s.id)
Index("subscriptions_plan_id_idx", _s.plan_id)
# What has to be renewed, or ends.
Index("subscriptions_period_end_time_idx", _s.period_end_time, postgresql_where=IS_LIVE)
