"""The event log: written in the transaction of the change, and read in the same order by all readers.

Transactions commit in another order than they start, so a reader that remembers only the highest number would miss
events that commit late. Each event therefore carries the id of its transaction. Readers go by (transaction, sequence),
and read only transactions below the oldest one that is still running (`pg_snapshot_xmin`): events below it no longer
change. A cursor thus sees every committed event exactly once, without a lock between writers.

A cluster counts its own transactions. The stored number therefore includes a base, that of the epoch
(server/data/epochs.py), which rises when the database moves to another cluster. Positions stay in order, and old ones
stay valid.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from psycopg.rows import TupleRow
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    bindparam,
    insert,
    text,
)
from sqlalchemy.types import UserDefinedType

from server.data.statements import Statement
from server.data.tables import TENANT_SETTING, global_table, time_column, uuid_column

# Two numbers below 2**63.
POSITION = re.compile(r"([0-7]?[0-9a-f]{1,15})-([0-7]?[0-9a-f]{1,15})")
NO_TENANT = "00000000-0000-0000-0000-000000000000"
"""The tenant of events outside any tenant, such as a sign-up that names none."""

EVENT_TENANT = (
    f"tenant_id = (SELECT coalesce(nullif(current_setting('{TENANT_SETTING}', true), ''), '{NO_TENANT}')::uuid)"
)


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which never wraps. In the logs it includes the base of the epoch."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Its name in DDL."""
        return "xid8"


events = global_table(
    "events",
    uuid_column("tenant_id"),
    Column("transaction_id", TransactionId, nullable=False, server_default=text("plinth_log_transaction()")),
    Column("sequence", BigInteger, nullable=False, server_default=text("nextval('events_sequence_seq')")),
    uuid_column("id"),
    Column("type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("message_type", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    uuid_column("actor_id", nullable=True),
    # The user whose event it is; NULL for an event of the whole tenant.
    uuid_column("audience", nullable=True),
    Column("for_webhooks", Boolean, nullable=False, server_default=text("true")),
    Column("request_id", Text, nullable=False),
    time_column("create_time", server_default=text("now()")),
    PrimaryKeyConstraint("tenant_id", "transaction_id", "sequence", "create_time"),
    Index("events_order_idx", "transaction_id", "sequence"),
    Index("events_id_idx", "tenant_id", "id"),
    Index("events_create_time_idx", "tenant_id", "create_time"),
    row_security=EVENT_TENANT,
    partition_by="RANGE (create_time)",
)

_WRITTEN = (
    *("tenant_id", "id", "type", "resource_id", "message_type", "payload", "actor_id", "audience", "for_webhooks"),
    "request_id",
)
APPEND = Statement(insert(events).values({name: bindparam(name, type_=events.c[name].type) for name in _WRITTEN}))


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in the log: after the event with these numbers."""

    transaction_id: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.transaction_id:x}-{self.sequence:x}"

    @classmethod
    def parse(cls, value: str) -> Self:
        """The position of an event id. Raises ValueError for a text that is no event id."""
        match = POSITION.fullmatch(value)
        if match is None:
            raise ValueError("an event id is two hexadecimal numbers with a hyphen between them")
        return cls(int(match[1], 16), int(match[2], 16))


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log."""

    tenant_id: str
    position: Position
    id: str
    type: str
    resource_id: str
    message_type: str
    payload: bytes
    """The resource right after the change (for a deletion: right before), as the message `message_type`."""
    create_time: datetime
    audience: str | None = None
    """The user whose event it is; None for an event of the whole tenant."""


_READ = """
SELECT tenant_id::text, transaction_id::text::bigint, sequence, id::text, type, resource_id, message_type, payload,
       create_time, audience::text
  FROM events
 WHERE {tenant} (transaction_id, sequence) > (%(transaction_id)s::text::xid8, %(sequence)s)
   AND transaction_id < greatest(plinth_log_horizon(), %(horizon)s::text::xid8)
 ORDER BY events.transaction_id, events.sequence
 LIMIT %(limit)s
"""
# For the dispatch role, which reads the log of all tenants on a connection of its own.
READ_ALL = _READ.format(tenant="")
READ_TENANT = _READ.format(tenant="tenant_id = %(tenant_id)s::uuid AND")
READ_END = "SELECT greatest(plinth_log_horizon(), plinth_log_horizon_here())::text::bigint - 1, plinth_log_base()"
READ_HORIZON = "SELECT plinth_log_horizon_here()::text::bigint AS horizon"
"""Below this, the data that a later statement reads no longer change, whatever other databases do.

The horizon that a statement sees by itself is held back by an open transaction in any database of the cluster. This
query examines sessions and locks instead, which takes half a millisecond: once a second is enough.
"""
READ_KNOWN = """
SELECT EXISTS (SELECT FROM events WHERE transaction_id = %(transaction_id)s::text::xid8 AND sequence = %(sequence)s)
    OR NOT EXISTS (
       SELECT FROM events WHERE (transaction_id, sequence) < (%(transaction_id)s::text::xid8, %(sequence)s))
"""
"""Whether a position has an event, or is older than the oldest event that is kept."""
READ_FIRST = """
SELECT transaction_id::text::bigint, sequence
  FROM events
 WHERE tenant_id = %(tenant_id)s::uuid AND create_time >= %(since)s AND resource_id = %(resource_id)s
 ORDER BY tenant_id, create_time
 LIMIT 1
"""
"""The first event of a resource that was made at `since` or later."""
READ_LAG = """
SELECT extract(epoch FROM clock_timestamp() - create_time)
  FROM events
 WHERE (transaction_id, sequence) > (%(transaction_id)s::text::xid8, %(sequence)s)
 ORDER BY events.transaction_id, events.sequence
 LIMIT 1
"""
"""Age in seconds of the first event after a position, even if it may not be read yet."""


def read_parameters(position: Position, limit: int, horizon: int = 0) -> dict[str, str | int]:
    """The parameters of READ_ALL. `horizon` is the result of READ_HORIZON."""
    return {
        "transaction_id": str(position.transaction_id),
        "sequence": position.sequence,
        "limit": limit,
        "horizon": str(horizon),
    }


def event_of(row: TupleRow) -> Event:
    """The event in a row of READ_ALL or READ_TENANT."""
    tenant_id, transaction_id, sequence, *rest = row
    return Event(tenant_id, Position(transaction_id, sequence), *rest)
