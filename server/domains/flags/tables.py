"""Tables of feature flags."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.tables import IS_PLATFORM, OWN_TENANT, global_table, tenant_table, time_column, uuid_column

_EMPTY, _FALSE, _NONE = text("''"), text("false"), text("'[]'")
# A process counts the evaluations of all tenants, and writes them together.
WALL = f"{OWN_TENANT} OR {IS_PLATFORM}"
feature_flags = tenant_table(
    "feature_flags",
    Column("key", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=_EMPTY),
    Column("kind", SmallInteger, nullable=False),
    Column("variants", JSONB, nullable=False, server_default=_NONE),
    Column("enabled", Boolean, nullable=False, server_default=_FALSE),
    Column("off_variant", Text, nullable=False),
    Column("rules", JSONB, nullable=False, server_default=_NONE),
    Column("default_serving", JSONB),
    Column("prerequisites", JSONB, nullable=False, server_default=_NONE),
    time_column("enable_time", nullable=True),
    time_column("disable_time", nullable=True),
    row_security=WALL,
)
_f = feature_flags.c
Index("feature_flags_key_key", _f.tenant_id, _f.key, unique=True)
Index("feature_flags_create_time_idx", _f.tenant_id, _f.create_time, _f.id)

# Evaluations of a flag on a day in UTC, by variant.
feature_flag_evaluations = global_table(
    "feature_flag_evaluations",
    uuid_column("tenant_id"),
    uuid_column("flag_id"),
    Column("day", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("evaluations", BigInteger, nullable=False),
    time_column("last_time"),
    PrimaryKeyConstraint("tenant_id", "flag_id", "day", "variant"),
    ForeignKeyConstraint(["tenant_id", "flag_id"], ["feature_flags.tenant_id", "feature_flags.id"], ondelete="CASCADE"),
    row_security=WALL,
)
Index("feature_flag_evaluations_day_idx", feature_flag_evaluations.c.day)
