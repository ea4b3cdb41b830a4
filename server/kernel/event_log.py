"""The event log as the realtime role reads it: all tenants' events, on a few connections of its own."""

from typing import Any

from server.data.events import READ_ALL, READ_END, READ_TENANT, Event, Position, event_of, read_parameters
from server.data.liveness import STATEMENT_TIMEOUT, WatchedPool, session

# Of several hosts, each has some realtime processes: they share what PostgreSQL has.
CONNECTIONS = 4
WAIT = 3.0
LAST_SEQUENCE = 2**63 - 1


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

    async def open(self) -> None:
        """Begin to connect."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._pool.close()

    async def after(self, position: Position, most: int) -> list[Event]:
        """The next events of all tenants."""
        return await self._read(READ_ALL, read_parameters(position, most))

    async def of_tenant_after(self, tenant_id: str, position: Position, most: int) -> list[Event]:
        """The next events of a tenant."""
        return await self._read(READ_TENANT, read_parameters(position, most) | {"tenant_id": tenant_id})

    async def end(self) -> Position:
        """Where the log ends now: everything below has been decided."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_END)
            row = await cursor.fetchone()
        return Position(int(row[0]) if row else 0, LAST_SEQUENCE)

    async def _read(self, query: str, parameters: dict[str, Any]) -> list[Event]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [event_of(row) for row in await cursor.fetchall()]
