"""The event log as the realtime role reads it: the events of all tenants, on a few connections of its own."""

from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from server.data.events import (
    READ_ALL,
    READ_END,
    READ_FIRST,
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
from server.kernel.ids import made_at

PROGRAM = "plinth realtime"
"""How PostgreSQL names the sessions of those who serve live streams."""
# Connections per process. All realtime processes of all hosts share the connections of PostgreSQL.
CONNECTIONS = 4
WAIT = 3.0
LAST_SEQUENCE = 2**63 - 1
# Seconds between two updates of the horizon, which is computed despite open transactions of other databases.
LOOK = 1.0
# By how much the clocks of a process that makes ids and of the database may differ, generously.
SKEW = timedelta(minutes=5)


class End(NamedTuple):
    """The end of the log."""

    position: Position
    """Every transaction up to this position has ended."""
    base: int
    """Transactions of the current epoch have higher numbers."""


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
                "application_name": PROGRAM,
                "options": session(STATEMENT_TIMEOUT),
            },
        )
        self._horizon = 0
        self._looked = 0.0

    async def open(self) -> None:
        """Start to connect."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def after(self, position: Position, most: int) -> list[Event]:
        """The next events of all tenants. For one reader only."""
        await self._look_at_horizon()
        return await self._read(READ_ALL, read_parameters(position, most, self._horizon))

    async def of_tenant_after(self, tenant_id: str, position: Position, most: int, until: Position) -> list[Event]:
        """The next events of a tenant, at least up to `until`, which is the position of the reader."""
        parameters = read_parameters(position, most, until.transaction_id + 1) | {"tenant_id": tenant_id}
        return await self._read(READ_TENANT, parameters)

    async def before(self, tenant_id: str, resource_id: str) -> Position | None:
        """The position right before the first event of a resource; None if the log has none of it."""
        parameters = {"tenant_id": tenant_id, "resource_id": resource_id, "since": made_at(resource_id) - SKEW}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_FIRST, parameters)
            row = await cursor.fetchone()
        return Position(row[0], row[1] - 1) if row else None

    async def end(self) -> End:
        """The current end of the log."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_END)
            last, base = await cursor.fetchone() or (0, 0)
        # The horizon of later reads must not be below this end.
        self._horizon, self._looked = last + 1, monotonic()
        return End(Position(last, LAST_SEQUENCE), base)

    async def knows(self, position: Position) -> bool:
        """Whether a position has an event.

        True where this is unknown: at an end, and before the oldest event that is kept.
        """
        if position.sequence == LAST_SEQUENCE:
            return True
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_KNOWN, read_parameters(position, 1))
            row = await cursor.fetchone()
        return row is not None and row[0] is True

    async def lag(self, position: Position) -> float:
        """Age in seconds of the first event after a position, even if it may not be read yet; 0 without one."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_LAG, read_parameters(position, 1))
            row = await cursor.fetchone()
        return float(row[0]) if row else 0.0

    async def _look_at_horizon(self) -> None:
        """Update the horizon, up to which the log may be read, unless that was done within LOOK.

        A fault resets it, because the server that answers afterwards may be another cluster.
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
