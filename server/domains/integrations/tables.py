"""Tables of integrations."""

from sqlalchemy import Boolean, Column, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from server.data.tables import tenant_table, time_column

_EMPTY = text("''")
integrations = tenant_table(
    "integrations",
    Column("template", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=_EMPTY),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("options", JSONB, nullable=False, server_default=text("'[]'")),
    # JSON of the values by name, sealed with a key derived from the deployment's secret. The id of the key comes first.
    Column("sealed_credentials", LargeBinary, nullable=False),
    Column("credential_names", ARRAY(Text), nullable=False),
    time_column("credentials_time"),
    Column("status", SmallInteger, nullable=False),
    Column("account", Text, nullable=False, server_default=_EMPTY),
    Column("last_error", Text, nullable=False, server_default=_EMPTY),
    time_column("last_test_time", nullable=True),
)
_c = integrations.c
Index("integrations_name_key", _c.tenant_id, _c.name, unique=True)
Index("integrations_create_time_idx", _c.tenant_id, _c.create_time, _c.id)
