"""The stored audit log: one row per mutation and per refusal, written in the transaction of the change.

A row never changes except for `personal`, which an erasure clears. Salted commitments alone bind its content to the
hash of the row (server/kernel/record/audit.py). The runtime role may insert, read, and update that one column.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    bindparam,
    insert,
    text,
)

from server.data.events import EVENT_TENANT, TransactionId
from server.data.statements import Statement
from server.data.tables import IS_PLATFORM, global_table, time_column, uuid_column

AUDIT_WALL = f"{EVENT_TENANT} OR {IS_PLATFORM}"

audit_entries = global_table(
    "audit_entries",
    uuid_column("tenant_id"),
    # The order in which entries are sealed, the same as the reading order of the event log.
    Column("transaction_id", TransactionId, nullable=False, server_default=text("plinth_log_transaction()")),
    Column("sequence", BigInteger, nullable=False, server_default=text("nextval('audit_entries_sequence_seq')")),
    uuid_column("id"),
    time_column("create_time"),
    # 0 unknown, 1 a user, 2 an API key, 3 the platform itself.
    Column("actor_kind", SmallInteger, nullable=False),
    uuid_column("actor_id", nullable=True),
    uuid_column("session_id", nullable=True),
    # Such as `plinth.sites.v1.PageService/CreatePage`, with the action `page.created`.
    Column("method", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    # The name of a gRPC status, and the reason of a refusal.
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # Whether it belongs to the security events.
    Column("security", Boolean, nullable=False),
    # Number of similar refusals within a moment; 1 for everything else.
    Column("count", Integer, nullable=False, server_default=text("1")),
    Column("request_id", Text, nullable=False),
    uuid_column("event_id", nullable=True),
    # JSON: field to before and after, without personal data.
    Column("changes", Text, nullable=False),
    # JSON: name to value and salt, of `ip`, `user_agent` and `changes`; `{}` after an erasure.
    Column("personal", Text, nullable=False),
    # JSON: name to the SHA-256 of salt and value.
    Column("commitments", Text, nullable=False),
    # SHA-256 of the row in canonical form.
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id", "create_time"),
    Index("audit_entries_order_idx", "transaction_id", "sequence"),
    Index("audit_entries_create_time_idx", "tenant_id", "create_time", "id"),
    Index("audit_entries_all_create_time_idx", "create_time", "id"),
    Index("audit_entries_actor_id_idx", "tenant_id", "actor_id", "create_time", "id"),
    Index("audit_entries_resource_id_idx", "tenant_id", "resource_id", "create_time", "id"),
    Index("audit_entries_action_idx", "tenant_id", "action", "create_time", "id"),
    Index("audit_entries_security_idx", "tenant_id", "create_time", "id", postgresql_where=text("security")),
    row_security=AUDIT_WALL,
    partition_by="RANGE (create_time)",
)

WRITTEN = tuple(name for name in audit_entries.c.keys() if name not in ("transaction_id", "sequence"))  # noqa: SIM118
APPEND = Statement(
    insert(audit_entries).values({name: bindparam(name, type_=audit_entries.c[name].type) for name in WRITTEN})
)
