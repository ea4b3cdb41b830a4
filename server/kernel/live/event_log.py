"""The event log as the realtime role reads it: all tenants' events, on a few connections of its own."""

from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple

from server.data.events import (
    READ_ALL,
    READ_END,
    READ_HORIZON,
    READ_KNOWN,
    READ_LAG,
    READ_TENANT,
    Event,
    Position,
    event_of,
    read_parameters,
)
from server.data.liveness import STATEMENT_TIMEOUT, WatchedPool, session

# Of several hosts, each has some realtime processes: they share what PostgreSQL has.
CONNECTIONS = 4
WAIT = 3.0
LAST_SEQUENCE = 2**63 - 1
# Seconds between two looks at how far may be read while transactions of other databases are open.
LOOK = 1.0


class End(NamedTuple):
    """Where the log ends."""

    position: Position
    """Everything up to here has been decided."""
    base: int
    """What the numbers of the epoch's transactions begin above."""


class EventLog:
    """Reads by position. Raises psycopg.Error and PoolTimeout."""

    def __init__(self, dispatch_dsn: str) -> None:
        self._pool = WatchedPool(
            dispatch_dsn,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=WAIT,
            open=False,
            kwargs={
                "autocommit": True,
                "application_name": "plinth realtime",
                "options": session(STATEMENT_TIMEOUT),
            },
        )
        self._horizon = 0
        self._looked = 0.0

    async def open(self) -> None:
        """Begin to connect."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._pool.close()

    async def after(self, position: Position, most: int) -> list[Event]:
        """The next events of all tenants. To be asked by one reader only."""
        await self._look_at_horizon()
        return await self._read(READ_ALL, read_parameters(position, most, self._horizon))

    async def of_tenant_after(self, tenant_id: str, position: Position, most: int, until: Position) -> list[Event]:
        """The next events of a tenant, at least up to `until`, up to where the reader has come."""
        parameters = read_parameters(position, most, until.transaction_id + 1) | {"tenant_id": tenant_id}
        return await self._read(READ_TENANT, parameters)

    async def end(self) -> End:
        """Where the log ends now."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_END)
            last, base = await cursor.fetchone() or (0, 0)
        # What is read from here on must not end before.
        self._horizon, self._looked = last + 1, monotonic()
        return End(Position(last, LAST_SEQUENCE), base)

    async def knows(self, position: Position) -> bool:
        """Whether there is an event at a position. True where nobody can tell: at an end, and before what is kept."""
        if position.sequence == LAST_SEQUENCE:
            return True
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_KNOWN, read_parameters(position, 1))
            row = await cursor.fetchone()
        return row is not None and row[0] is True

    async def lag(self, position: Position) -> float:
        """How old the first event after a position is, in seconds, though it may not be read yet; 0 without one."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_LAG, read_parameters(position, 1))
            row = await cursor.fetchone()
        return float(row[0]) if row else 0.0

    async def _look_at_horizon(self) -> None:
        """See how far may be read, unless it was seen a moment ago.

        A fault forgets it: whatever answers afterwards may be another cluster.
        """
        if monotonic() - self._looked < LOOK:
            return
        self._horizon = 0
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_HORIZON)
            row = await cursor.fetchone()
        self._horizon, self._looked = (row[0] if row else 0), monotonic()

    async def _read(self, query: str, parameters: Mapping[str, object]) -> list[Event]:
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters)
                return [event_of(row) for row in await cursor.fetchall()]
        except Exception:
            self._horizon, self._looked = 0, 0.0
            raise
