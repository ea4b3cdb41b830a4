"""The event log: written in the transaction of the change, read in one order by everyone.

Transactions commit in another order than they started, so a reader that only remembers the highest number it saw would
miss what commits late. Therefore an event carries the id of its transaction, readers go by (transaction, sequence), and
they only read transactions below the oldest one that is still running (`pg_snapshot_xmin`): what is below can no longer
change. A cursor thus sees every committed event exactly once, without any lock between writers.

A cluster counts its own transactions. Therefore the stored number has a base, the epoch's (server/data/epochs.py),
which rises whenever the database turns up in another cluster: positions stay in order, and old ones stay valid.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from psycopg.rows import TupleRow
from sqlalchemy import (
    BigInteger,
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
"""Tenant of what happens outside of any tenant, such as a sign-up that names none."""

EVENT_TENANT = (
    f"tenant_id = (SELECT coalesce(nullif(current_setting('{TENANT_SETTING}', true), ''), '{NO_TENANT}')::uuid)"
)


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which never wraps; in the logs, with the base of the epoch added."""

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
    Column("request_id", Text, nullable=False),
    time_column("create_time", server_default=text("now()")),
    PrimaryKeyConstraint("tenant_id", "transaction_id", "sequence", "create_time"),
    Index("events_order_idx", "transaction_id", "sequence"),
    Index("events_id_idx", "tenant_id", "id"),
    Index("events_create_time_idx", "tenant_id", "create_time"),
    row_security=EVENT_TENANT,
    partition_by="RANGE (create_time)",
)

_WRITTEN = ("tenant_id", "id", "type", "resource_id", "message_type", "payload", "actor_id", "request_id")
APPEND = Statement(insert(events).values({name: bindparam(name, type_=events.c[name].type) for name in _WRITTEN}))


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the log: after the event with these numbers."""

    transaction_id: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.transaction_id:x}-{self.sequence:x}"

    @classmethod
    def parse(cls, value: str) -> Self:
        """The position that an event id names. Raises ValueError when it names none."""
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


_READ = """
SELECT tenant_id::text, transaction_id::text::bigint, sequence, id::text, type, resource_id, message_type, payload,
       create_time
  FROM events
 WHERE {tenant} (transaction_id, sequence) > (%(transaction_id)s::text::xid8, %(sequence)s)
   AND transaction_id < greatest(plinth_log_horizon(), %(horizon)s::text::xid8)
 ORDER BY events.transaction_id, events.sequence
 LIMIT %(limit)s
"""
# For the dispatch role, which reads the log of every tenant on a connection of its own.
READ_ALL = _READ.format(tenant="")
READ_TENANT = _READ.format(tenant="tenant_id = %(tenant_id)s::uuid AND")
READ_END = "SELECT greatest(plinth_log_horizon(), plinth_log_horizon_here())::text::bigint - 1, plinth_log_base()"
READ_HORIZON = "SELECT plinth_log_horizon_here()::text::bigint AS horizon"
"""Below this, what a statement that begins later reads can no longer change, whatever other databases are doing.

The horizon that statements see by themselves stands still while a transaction is open in any database of the cluster.
Sessions and locks have to be looked at for this one, which takes half a millisecond: once a second is enough.
"""
READ_KNOWN = """
SELECT EXISTS (SELECT FROM events WHERE transaction_id = %(transaction_id)s::text::xid8 AND sequence = %(sequence)s)
    OR NOT EXISTS (
       SELECT FROM events WHERE (transaction_id, sequence) < (%(transaction_id)s::text::xid8, %(sequence)s))
"""
"""Whether there is an event at a position, or the position is older than what is kept."""
READ_LAG = """
SELECT extract(epoch FROM clock_timestamp() - create_time)
  FROM events
 WHERE (transaction_id, sequence) > (%(transaction_id)s::text::xid8, %(sequence)s)
 ORDER BY events.transaction_id, events.sequence
 LIMIT 1
"""
"""How old the first event after a position is, in seconds, though it may not be read yet."""


def read_parameters(position: Position, limit: int, horizon: int = 0) -> dict[str, str | int]:
    """What READ_ALL takes; `horizon` is what READ_HORIZON told."""
    return {
        "transaction_id": str(position.transaction_id),
        "sequence": position.sequence,
        "limit": limit,
        "horizon": str(horizon),
    }


def event_of(row: TupleRow) -> Event:
    """The event that a row of READ_ALL or READ_TENANT holds."""
    tenant_id, transaction_id, sequence, *rest = row
    return Event(tenant_id, Position(transaction_id, sequence), *rest)
