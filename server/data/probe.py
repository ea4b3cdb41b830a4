"""The probe: runs the kinds of statements that calls need, on a connection of its own, with a timeout.

It often checks that PostgreSQL answers. Writing needs more: a primary that has become read-only still answers every
query, and one with a full disk answers all but some writes. The probe therefore also deletes zero rows, which a
read-only server refuses, and writes half a megabyte to a temporary file, which a full disk refuses. Neither leaves a
trace. Both together take PostgreSQL about 2 ms.
"""

from collections.abc import Callable
from math import inf
from time import monotonic

import psycopg
from psycopg.conninfo import make_conninfo

from server.data.connections import Doubt, PipelineConnection, Result, Silent
from server.data.liveness import keep_alive
from server.data.statements import Statement
from server.faults import Ailing

# Seconds between two attempts to write.
WRITES_EVERY = 5.0
# Seconds without a query after PostgreSQL did not answer, so that several queries in a row do not all wait.
REST = 0.5
WRITES = (
    b"BEGIN",
    b"DELETE FROM idempotency_records WHERE false",
    # The minimum, so that the rows go to the disk.
    b"SET LOCAL work_mem = '64kB'",
    b"WITH rows AS MATERIALIZED (SELECT repeat('x', 1024) FROM generate_series(1, 512)) SELECT count(*) FROM rows",
    b"ROLLBACK",
)


class Probe:
    """The probe of one process. For one thread at a time."""

    def __init__(
        self, dsn: str, timeout: float, *, writes_every: float = WRITES_EVERY, doubt: Doubt | None = None
    ) -> None:
        """An answer is awaited for at most `timeout` seconds; writing is tried every `writes_every` seconds.

        Pools that share the `doubt` learn whether PostgreSQL answers.
        """
        self._doubt = doubt or Doubt()
        self._dsn = dsn
        self._timeout = timeout
        self._writes_every = writes_every
        self._connection: PipelineConnection | None = None
        self._wrote = -writes_every
        self._rest_until = 0.0
        self._problem: Exception | None = None

    def ask(self) -> None:
        """Raise psycopg.OperationalError if PostgreSQL does not answer in time."""
        try:
            self._exchange(lambda connection: connection.send_plain(b"SELECT 1"))
        except psycopg.Error as error:
            self._wrote = -inf
            # A refusal is an answer too.
            self._doubt.probed(answered=not isinstance(error, Silent | psycopg.errors.ConnectionTimeout))
            raise
        self._doubt.probed(answered=True)

    def ask_to_write(self) -> None:
        """Raise Ailing, or psycopg.Error if PostgreSQL does not answer, by the last attempt to write."""
        if monotonic() - self._wrote >= self._writes_every:
            self._problem = self._try_to_write()
            # Silence is checked again each time: that costs nothing, and its end is noticed at once.
            self._wrote = monotonic() if self._is_known else -inf
        if self._problem is not None:
            raise self._problem

    def run(self, statement: Statement, **parameters: object) -> Result:
        """Run a query. Raises the error of PostgreSQL, or psycopg.OperationalError if it does not answer in time."""
        return self._exchange(lambda connection: connection.send(statement, parameters))

    def start(self) -> None:
        """Do nothing: the first query connects."""

    def close(self) -> None:
        """Close the connection. No query may be running."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _is_known(self) -> bool:
        """Whether PostgreSQL answered the last attempt to write."""
        return not isinstance(self._problem, psycopg.OperationalError) or self._problem.sqlstate is not None

    def _try_to_write(self) -> Exception | None:
        try:
            self._exchange(_send_writes)
        except psycopg.errors.ReadOnlySqlTransaction:
            return Ailing("is read-only")
        except (psycopg.errors.DiskFull, psycopg.errors.IoError):
            return Ailing("its disk is full, or fails")
        except psycopg.Error as error:
            return error
        return None

    def _exchange(self, send: Callable[[PipelineConnection], None]) -> Result:
        if monotonic() < self._rest_until:
            raise psycopg.OperationalError("PostgreSQL did not answer a moment ago")
        try:
            if self._connection is None:
                self._connection = self._connect()
            send(self._connection)
            return self._connection.receive(self._timeout)[-1]
        except psycopg.Error as error:
            self.close()
            if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
                self._rest_until = monotonic() + REST
            raise

    def _connect(self) -> PipelineConnection:
        seconds = max(2, int(self._timeout))
        connection = PipelineConnection.connect(
            make_conninfo(self._dsn, **keep_alive(self._dsn)),
            autocommit=True,
            connect_timeout=seconds,
            application_name="plinth health",
        )
        connection.start()
        return connection


def _send_writes(connection: PipelineConnection) -> None:
    for statement in WRITES:
        connection.send_plain(statement)
