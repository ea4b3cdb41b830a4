"""Locks that tests hold in PostgreSQL, so that calls wait there for exactly as long as a test wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from tests.clients import database, rows
from tests.stack import Stack

if TYPE_CHECKING:
    from psycopg import Connection

PAGE = "SELECT FROM pages WHERE id = %s FOR UPDATE"
# Who waits for this one, or for somebody who does.
WAITING = """
WITH RECURSIVE held AS (
    SELECT %s::integer AS pid
     UNION
    SELECT activity.pid FROM pg_stat_activity activity JOIN held ON held.pid = ANY (pg_blocking_pids(activity.pid))
)
SELECT activity.pid, activity.application_name AS name
  FROM pg_stat_activity activity JOIN held USING (pid) WHERE activity.wait_event_type = 'Lock'
"""


class Lock:
    """What one statement has locked."""

    def __init__(self, stack: Stack, connection: "Connection[dict[str, Any]]") -> None:
        self._stack = stack
        self._connection = connection

    def waiting(self) -> list[dict[str, Any]]:
        """Process id and name of the connections that wait for it."""
        return rows(self._stack, WAITING, self._connection.info.backend_pid)

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many connections wait for it; which ones."""
        self._stack.wait_for(lambda: len(self.waiting()) == count)
        return self.waiting()

    def commit(self) -> None:
        """Let go, with its effect."""
        self._connection.commit()

    def release(self) -> None:
        """Let go, without effect."""
        self._connection.rollback()


@contextmanager
def held(stack: Stack, sql: str, *values: object) -> Iterator[Lock]:
    """Hold what this statement locks, until the block ends or releases it."""
    with database(stack) as connection:
        connection.execute(cast("Any", sql), values)
        lock = Lock(stack, connection)
        try:
            yield lock
        finally:
            lock.release()
