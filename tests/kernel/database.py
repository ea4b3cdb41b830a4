"""The stack's real PostgreSQL for tests of the data layer: a scratch database with a table of every type."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from server.data.connections import Connections
from server.data.transactions import Database
from tests.contract.scratch import scratch_database
from tests.stack import Stack


@contextmanager
def connections(
    dsn: str, *, size: int = 2, wait: float = 20.0, statement_timeout: float = 30.0
) -> Iterator[Connections]:
    """A pool like that of a worker."""
    pool = Connections(dsn, size=size, wait=wait, statement_timeout=statement_timeout, name="kernel test")
    pool.open()
    try:
        yield pool
    finally:
        pool.close()


# Every connection asks for it first. There is no log here, whose positions would need an epoch.
KEEP_EPOCH = "CREATE FUNCTION plinth_keep_epoch() RETURNS boolean LANGUAGE sql RETURN false"


@contextmanager
def scratch(stack: Stack, *statements: str) -> Iterator[str]:
    """A database in which these statements ran."""
    with scratch_database(stack) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(KEEP_EPOCH)
            for statement in statements:
                connection.execute(statement.encode())
        yield dsn


__all__ = ["Connections", "Database", "connections", "scratch"]
