"""Operations: long work that a call or the platform started, one row each. A job does the work.

The row and its job are written in one transaction. Workers change the row in the transactions of their batches, so that
what it says and what was done never differ.
"""

from sqlalchemy import Column, Index, Integer, SmallInteger, Text, bindparam, insert, text
from sqlalchemy.dialects.postgresql import JSONB

from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.data.tables import tenant_table, time_column, uuid_column

NOBODY = NO_TENANT
"""The audience of events that nobody owns: only a permission shows them."""
QUEUED, RUNNING, DONE, FAILED, CANCELLED = 1, 2, 3, 4, 5
"""The states, as plinth.operations.v1.Operation.State has them."""
IS_LIVE = f"operations.state IN ({QUEUED}, {RUNNING})"
"""The condition that an operation has not ended."""

operations = tenant_table(
    "operations",
    # The user or API key that started it; NULL if the platform did.
    uuid_column("owner_id", nullable=True),
    Column("kind", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("total", Integer, nullable=False, server_default=text("0")),
    Column("message", Text, nullable=False, server_default=text("''")),
    Column("error", JSONB),
    Column("result", JSONB),
    # The file that it has made (kernel/ports.py, WorkFiles).
    Column("file", JSONB),
    Column("request_id", Text, nullable=False, server_default=text("''")),
    time_column("start_time", nullable=True),
    time_column("cancel_time", nullable=True),
    time_column("end_time", nullable=True),
    time_column("expire_time", nullable=True),
    # Which attempt may write: a worker that was given up for lost writes nothing any more.
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    # Attempts that were lost or failed since something was last saved.
    Column("losses", Integer, nullable=False, server_default=text("0")),
    # What the work saved with its last batch, to go on from.
    Column("saved", JSONB, nullable=False, server_default=text("'{}'")),
)
Index(
    "operations_owner_create_time_idx", *(operations.c[name] for name in ("tenant_id", "owner_id", "create_time", "id"))
)
Index("operations_create_time_idx", operations.c.tenant_id, operations.c.create_time, operations.c.id)
Index("operations_expire_time_idx", operations.c.expire_time)
# For the search for those whose job is gone, over all tenants. By a column that progress leaves as it is.
Index("operations_live_idx", operations.c.create_time, postgresql_where=text(f"state IN ({QUEUED}, {RUNNING})"))

_NEW = ("tenant_id", "id", "owner_id", "kind", "state", "request_id", "create_time", "update_time")
INSERT = Statement(insert(operations).values({name: bindparam(name, type_=operations.c[name].type) for name in _NEW}))
