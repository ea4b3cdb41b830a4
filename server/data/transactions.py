"""Transactions bound to a tenant: the only access to PostgreSQL for code that serves a call.

Every transaction starts by setting, for row-level security, whose rows it may see; without the settings it sees none.
They end with the transaction (`set_config(..., true)`), so nothing leaks to the next user of a pooled connection.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import ColumnElement, Text, bindparam, func, literal_column, select, true

from server.data.connections import Connections, Lost, PipelineConnection, Result
from server.data.jobs import DEFER
from server.data.observer import Observer, RoundTrip
from server.data.statements import Statement
from server.data.tables import PLATFORM_SETTING, TENANT_SETTING, USER_SETTING

ANY_VERSION = -1
"""The version of a tenant's access for a call that no version allowed: the tenant only has to exist."""


class Scope(NamedTuple):
    """The rows that a transaction may see: those of a tenant, those of a user, or (platform administrators) all."""

    tenant_id: str | None = None
    user_id: str | None = None
    platform: bool = False
    session_id: str | None = None
    """The session on whose behalf the transaction runs. It must still be alive."""
    access_version: int | None = None
    """The version of the tenant's access by which the call was allowed. It must still be current, unless it is any."""

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the binding statements."""
        return {
            "tenant": self.tenant_id or "",
            "user": self.user_id or "",
            "platform": "on" if self.platform else "",
            "session": self.session_id,
            "access": self.access_version,
        }


class ScopeEnded(Exception):
    """A condition of the call's permission has ended, and nothing was read or changed.

    `what` is `session`, `tenant` or `access`.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"the {what} is gone")


class KeyTaken(Exception):
    """The idempotency key has been used, or is in use. Nothing was changed."""


class Patience(Protocol):
    """The deadline of a caller."""

    @property
    def time_left(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""

    @property
    def is_active(self) -> bool:
        """Whether the caller still waits for the answer."""


class Binding:
    """The statements that begin every transaction: they bind its scope, and check that session and tenant still exist.

    The check is in the same statement, to the right of the settings, because row-level security applies to it too. If
    PostgreSQL ever evaluated it earlier, it would see no rows, and the call would be refused.

    PostgreSQL itself refuses a write, with an error that also prevents the statements sent with it, including COMMIT. A
    call that only writes therefore takes one round trip.
    """

    def __init__(self, gone: ColumnElement[str] | None) -> None:
        """`gone` takes `session` and `tenant`, and is `session`, `tenant`, or empty if both exist."""
        self.read = Statement(select(*_settings(read_only=True), _gone(gone)))
        self.write = Statement(select(*_settings(read_only=False), _refused(gone)))
        # For callers whose deadline comes before the statement timeout.
        self.hasty_read = Statement(select(_TIMEOUT, *_settings(read_only=True), _gone(gone)))
        self.hasty_write = Statement(select(_TIMEOUT, *_settings(read_only=False), _refused(gone)))


def _settings(*, read_only: bool) -> list[ColumnElement[str]]:
    parameters = {TENANT_SETTING: "tenant", USER_SETTING: "user", PLATFORM_SETTING: "platform"}
    settings = [_setting(name, bindparam(parameter, type_=Text())) for name, parameter in parameters.items()]
    return [*settings, _setting("transaction_read_only", literal_column("'on'"))] if read_only else settings


def _setting(name: str, value: ColumnElement[str]) -> ColumnElement[str]:
    return func.set_config(literal_column(f"'{name}'"), value, true(), type_=Text()).label(name.replace(".", "_"))


_TIMEOUT = _setting("statement_timeout", bindparam("timeout", type_=Text()))


def _gone(gone: ColumnElement[str] | None) -> ColumnElement[str]:
    return (literal_column("''", Text()) if gone is None else gone).label("gone")


def _refused(gone: ColumnElement[str] | None) -> ColumnElement[str]:
    return _gone(None) if gone is None else func.plinth_refuse_who_is_gone(gone, type_=Text()).label("gone")


# The SQLSTATE of that function's error; the message says what has ended.
SCOPE_ENDED = "PL001"
# The SQLSTATE of plinth_claim_key's error.
KEY_TAKEN = "PL002"
# BEGIN precedes the binding.
PLACE_AFTER_BEGIN = 1
BEGIN = b"BEGIN"
COMMIT = b"COMMIT"
ROLLBACK = b"ROLLBACK"


class Transaction:
    """A transaction of one call. Statements are sent together unless a result is needed in between."""

    def __init__(
        self, connections: Connections, scope: Scope, binding: Binding, patience: Patience | None = None
    ) -> None:
        self._connections = connections
        self._parameters = scope.parameters
        self._binding = binding
        self._patience = patience
        self._connection: PipelineConnection | None = None

    def run(self, statement: Statement, **parameters: object) -> Result:
        """Run a statement and wait for its result. Raises psycopg's exceptions, DatabaseUnavailable and ScopeEnded."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def _open(self) -> PipelineConnection:
        if self._connection is None:
            self._connection = self._connections.acquire()
        return self._connection

    def _binding_of(self, plain: Statement, hasty: Statement) -> tuple[Statement, dict[str, object]]:
        """The binding and its parameters. It limits later statements to the caller's deadline."""
        left = self._patience.time_left if self._patience else None
        if left is None or left >= self._connections.statement_timeout:
            return plain, self._parameters
        return hasty, self._parameters | {"timeout": str(max(1, int(left * 1000)))}

    def _is_wanted(self) -> bool:
        return self._patience is None or self._patience.is_active

    def _receive(self, connection: PipelineConnection, bound: int | None = None, plain: bytes = b"") -> Result:
        """The result of the last statement."""
        return self._receive_all(connection, bound, plain)[-1]

    def _receive_all(self, connection: PipelineConnection, bound: int | None, plain: bytes = b"") -> list[Result]:
        """The results of the statements sent.

        `bound` is the index of the binding's result, and `plain` the plain statement at the end, if there is one.
        """
        observer = self._connections.observer
        try:
            if observer is None:
                results = connection.receive(self._connections.silence, self._is_wanted)
            else:
                results = self._observed(observer, connection, bound, plain)
        except psycopg.Error as error:
            if error.diag.sqlstate == SCOPE_ENDED:
                raise ScopeEnded(error.diag.message_primary or "") from error
            if error.diag.sqlstate == KEY_TAKEN:
                raise KeyTaken from error
            raise
        if bound is not None:
            gone = results[bound].last_of_first()
            if gone:
                raise ScopeEnded(gone.decode())
        return results

    def _observed(
        self, observer: Observer, connection: PipelineConnection, bound: int | None, plain: bytes
    ) -> list[Result]:
        """The results. The observer is notified of them, or of the error."""
        sent = connection.sent
        start = perf_counter()
        try:
            answers = connection.receive(self._connections.silence, self._is_wanted)
        except psycopg.Error as error:
            observer.round_trip(RoundTrip(perf_counter() - start, error, sent, plain, (), bound))
            raise
        observer.round_trip(RoundTrip(perf_counter() - start, None, sent, plain, answers, bound))
        return answers

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.is_clean:
            self._connections.release(connection)
        else:
            self._connections.discard(connection)


class ReadTransaction(Transaction):
    """Reads. Each statement is a read-only, bound transaction of its own, in one round trip.

    PostgreSQL treats all statements before one Sync as a transaction, so neither BEGIN nor COMMIT is sent.
    """

    def run(self, statement: Statement, **parameters: object) -> Result:
        """Run a query in a read-only transaction of its own. Retried on a second connection if the first is lost."""
        try:
            return self._ask(statement, parameters)
        except Lost:
            self._give_back()
        return self._ask(statement, parameters)

    def _ask(self, statement: Statement, parameters: dict[str, object]) -> Result:
        connection = self._open()
        connection.send(*self._binding_of(self._binding.read, self._binding.hasty_read))
        connection.send(statement, parameters)
        return self._receive(connection, 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()


class WriteTransaction(Transaction):
    """Writes, committed once at the end or not at all. The first statement carries BEGIN, the last one COMMIT.

    The first statements reveal a connection that PostgreSQL ended while it was idle. They are then sent once more on
    another one, because none of them can have been committed: COMMIT was not among them, or was not read.
    """

    def __init__(
        self, connections: Connections, scope: Scope, binding: Binding, patience: Patience | None = None
    ) -> None:
        super().__init__(connections, scope, binding, patience)
        self._open_in_database = False
        self._bound: int | None = None
        self.has_jobs = False
        """Whether a job was enqueued that is due at once."""
        # The statements sent before the first answer.
        self._opening: list[tuple[Statement, dict[str, object]]] | None = []

    def run(self, statement: Statement, **parameters: object) -> Result:
        """Run a statement inside the transaction."""
        self._begin()
        self._send(statement, parameters)
        return self._answers()[-1]

    def run_both(self, first: Statement, second: Statement, **parameters: object) -> tuple[Result, Result]:
        """Run two statements in one round trip. The second sees everything committed until the first ended."""
        self._begin()
        self._send(first, parameters)
        self._send(second, parameters)
        results = self._answers()
        return results[-2], results[-1]

    def run_all(self, statements: Sequence[tuple[Statement, Mapping[str, object]]]) -> list[Result]:
        """Run several statements, each with its parameters, in one round trip; their results.

        Each sees everything committed until the one before it ended.
        """
        self._begin()
        for statement, parameters in statements:
            self._send(statement, dict(parameters))
        return self._answers()[-len(statements) :]

    def queue(self, statement: Statement, **parameters: object) -> None:
        """Send a statement along with the next one, which raises its failure."""
        self._begin()
        self._send(statement, parameters)

    def settle(self) -> None:
        """Wait for queued statements, if no answer was awaited so far. Raises as `run` does."""
        if self._bound is not None:
            self._answers()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._open_in_database:
                if error is None:
                    self._commit()
                else:
                    self._roll_back()
        finally:
            self._give_back()

    def _begin(self) -> None:
        if not self._open_in_database:
            self._open().send_plain(BEGIN)
            self._open_in_database = True
            self._bound = PLACE_AFTER_BEGIN
            self._send(*self._binding_of(self._binding.write, self._binding.hasty_write))

    def _send(self, statement: Statement, parameters: dict[str, object]) -> None:
        if statement is DEFER:
            self.has_jobs = True
        if self._opening is not None:
            self._opening.append((statement, parameters))
        self._open().send(statement, parameters)

    def _answers(self, plain: bytes = b"") -> list[Result]:
        """The results of the statements sent. `plain` is the plain statement at the end, if there is one."""
        bound, self._bound = self._bound, None
        try:
            results = self._receive_all(self._open(), bound, plain)
        except Lost as lost:
            if self._opening is None or (plain and not lost.is_untouched):
                raise
            self._open_anew(plain)
            results = self._receive_all(self._open(), bound, plain)
        self._opening = None
        return results

    def _open_anew(self, plain: bytes) -> None:
        """Send the statements of the lost connection on another one."""
        self._give_back()
        self._open_in_database = False
        connection = self._open()
        self._open_in_database = True
        connection.send_plain(BEGIN)
        for statement, parameters in self._opening or ():
            connection.send(statement, parameters)
        if plain:
            connection.send_plain(plain)

    def bind(self, scope: Scope) -> None:
        """Switch the rest of the transaction to another scope, such as that of the tenant it is about to create.

        Session and tenant were checked for the scope at the start of the transaction.
        """
        self._begin()
        self._parameters = scope.parameters | {"session": None, "access": None}
        self.queue(self._binding.write, **self._parameters)

    def _commit(self) -> None:
        connection = self._open()
        try:
            if connection.pgconn.transaction_status == TransactionStatus.INERROR:
                # PostgreSQL would answer COMMIT with a ROLLBACK that looks like success.
                raise psycopg.errors.InFailedSqlTransaction("a statement failed, so nothing can be committed")
            connection.send_plain(COMMIT)
            self._answers(COMMIT)
        except (psycopg.Error, ScopeEnded, KeyTaken):
            if self._open_in_database:
                self._roll_back()
            raise

    def _roll_back(self) -> None:
        """End the transaction without effect. A queued statement may fail once more, so it may take two attempts.

        A connection on which both failed is discarded when it is given back.
        """
        connection = self._open()
        for _ in range(2):
            if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
                return
            with suppress(psycopg.Error, KeyTaken):
                connection.send_plain(ROLLBACK)
                self._receive(connection, plain=ROLLBACK)


class Database:
    """PostgreSQL as one role, for one process."""

    def __init__(self, connections: Connections, gone: ColumnElement[str] | None = None) -> None:
        """`gone` checks the session and the tenant of a caller (see Binding)."""
        self.connections = connections
        self._binding = Binding(gone)

    def read(self, scope: Scope, patience: Patience | None = None) -> ReadTransaction:
        """A read transaction of this scope, bounded by the deadline of the caller."""
        return ReadTransaction(self.connections, scope, self._binding, patience)

    def write(self, scope: Scope, patience: Patience | None = None) -> WriteTransaction:
        """A write transaction of this scope, bounded by the deadline of the caller."""
        return WriteTransaction(self.connections, scope, self._binding, patience)
