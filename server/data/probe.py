"""The probe: asks PostgreSQL what calls ask of it, over a connection of its own, in bounds.

That it answers, is asked often. That it can be written to takes more: a primary that has become read-only answers every
question, and a disk that is full answers all but some writes. So a probe also tries to delete no row, which a read-only
server refuses, and to have half a megabyte written to a temporary file, which a full disk refuses; nothing of either
stays. Both together take PostgreSQL some 2 ms.
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

# Seconds between two tries to write.
WRITES_EVERY = 5.0
# Seconds for which nothing is asked after PostgreSQL did not answer: several questions in a row would each wait.
REST = 0.5
WRITES = (
    b"BEGIN",
    b"DELETE FROM idempotency_records WHERE false",
    # The least there is: what does not fit goes to the disk.
    b"SET LOCAL work_mem = '64kB'",
    b"WITH rows AS MATERIALIZED (SELECT repeat('x', 1024) FROM generate_series(1, 512)) SELECT count(*) FROM rows",
    b"ROLLBACK",
)


class Probe:
    """One process's probe. One thread asks at a time."""

    def __init__(
        self, dsn: str, timeout: float, *, writes_every: float = WRITES_EVERY, doubt: Doubt | None = None
    ) -> None:
        """No answer is waited for longer than `timeout` seconds; writing is tried every `writes_every`.

        Pools that share the `doubt` learn whether anybody answers.
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
        """Raise psycopg.OperationalError when PostgreSQL does not answer in time."""
        try:
            self._exchange(lambda connection: connection.send_plain(b"SELECT 1"))
        except psycopg.Error as error:
            self._wrote = -inf
            # Who refuses answers.
            self._doubt.probed(answered=not isinstance(error, Silent | psycopg.errors.ConnectionTimeout))
            raise
        self._doubt.probed(answered=True)

    def ask_to_write(self) -> None:
        """Raise Ailing, or psycopg.Error when PostgreSQL does not answer, as of the last time it was tried."""
        if monotonic() - self._wrote >= self._writes_every:
            self._problem = self._try_to_write()
            # That nobody answers is asked anew each time: it costs nothing, and the end of it is told at once.
            self._wrote = monotonic() if self._is_known else -inf
        if self._problem is not None:
            raise self._problem

    def run(self, statement: Statement, **parameters: object) -> Result:
        """Ask something. Raises what PostgreSQL answers, or psycopg.OperationalError when it does not in time."""
        return self._exchange(lambda connection: connection.send(statement, parameters))

    def start(self) -> None:
        """Do nothing yet: the first question connects."""

    def close(self) -> None:
        """Let go of the connection. Nobody may be asking."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _is_known(self) -> bool:
        """Whether PostgreSQL answered when writing was tried last."""
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
