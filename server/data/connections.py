"""Connections: a psycopg pool whose connections speak libpq's pipeline mode.

Measured (client CPU for one tenant-bound read by key, psycopg 3.3 on a 2-core machine): 189 us with
`connection.transaction()` and `execute`, 146 us with `connection.pipeline()`, 27 us with libpq's pipeline directly
(psycopg.pq). The wire carries the same statements in all three; so this module talks to psycopg.pq, and is the only one
that does.
"""

import logging
import select
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from math import inf
from time import monotonic
from typing import NamedTuple

import psycopg
from psycopg import errors, pq
from psycopg.abc import ConnDict
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from server.data.clock import shared
from server.data.greeting import GREET
from server.data.liveness import IDLE_FOR, IN_TRANSACTION, keep_alive, session
from server.data.observer import Observer, Observers
from server.data.statements import ColumnValue, Row, Statement

log = logging.getLogger("plinth.connections")
READS = select.POLLIN | select.POLLPRI
WRITES = READS | select.POLLOUT
# PostgreSQL cancels a statement itself after the statement timeout. Seconds after that until the connection is cut.
SILENCE_MARGIN = 2.0
# Seconds for telling PostgreSQL to cancel a statement.
CANCEL_WITHIN = 1.0
# After CONFIRMED seconds without an answer to the probe, calls no longer start to wait for PostgreSQL, and a call that
# has waited PATIENCE seconds stops waiting.
CONFIRMED = 2.0
PATIENCE = 4.0
# Seconds that a new connection waits for its first answer.
GREETED_WITHIN = 5.0
# Seconds between two checks whether the caller still waits.
LOOK = 0.1
# Seconds for which a connection that was used counts as alive, unless another one is found dead in that time.
FRESH = 1.0
# Statements that a connection keeps prepared. Each takes about 30 KB in PostgreSQL for the life of the connection.
MOST_PREPARED = 256
# libpq 17 and later has a message for closing; earlier versions need a statement.
CLOSES = psycopg.capabilities.has_send_close_prepared()
# Seconds for which the pool tries to connect before it gives up. It tries again at the next request.
RECONNECTS_FOR = 0.2
# Seconds between two requests of a waiting caller to the pool, which make it try again.
ASK_EVERY = 0.25
# Seconds for which callers are refused at once instead of queueing up, after no connection was available in time.
OUTAGE_PAUSE = 0.5
# Seconds without an outage after which an outage is logged again; until then it is logged once.
NEXT_WORD = 5.0


class DatabaseUnavailable(Exception):
    """No connection to PostgreSQL is available in time."""


class Result:
    """The result of one statement."""

    __slots__ = ("_result", "_statement")

    def __init__(self, result: pq.abc.PGresult, statement: Statement | None) -> None:
        self._result = result
        self._statement = statement

    @property
    def count(self) -> int:
        """Number of rows returned or changed."""
        return self._result.ntuples or int(self._result.command_tuples or 0)

    def raw(self, row: int) -> list[bytes | None]:
        """The columns of one row, as PostgreSQL sent them in binary format."""
        get = self._result.get_value
        return [get(row, column) for column in range(self._result.nfields)]

    def last_of_first(self) -> bytes | None:
        """The last column of the first row, as PostgreSQL sent it."""
        return self._result.get_value(0, self._result.nfields - 1)

    @property
    def returned(self) -> int:
        """Number of rows returned."""
        return self._result.ntuples

    def all(self) -> list[Row]:
        """Every row, decoded."""
        return [self.row(number) for number in range(self._result.ntuples)]

    def first(self) -> Row | None:
        """The first row, decoded, or None."""
        return self.row(0) if self._result.ntuples else None

    def one(self) -> Row:
        """The only row. Raises LookupError if the result is empty."""
        row = self.first()
        if row is None:
            raise LookupError("the statement returned no row")
        return row

    def value(self) -> ColumnValue:
        """The first column of the only row."""
        return next(iter(self.one().values()))

    def row(self, number: int) -> Row:
        """One row, decoded; the first is 0."""
        if self._statement is None:
            raise LookupError("a plain statement returns no rows")
        statement = self._statement
        return {
            name: None if value is None else decode(value)
            for name, decode, value in zip(statement.columns, statement.decoders, self.raw(number), strict=True)
        }


Wanted = Callable[[], bool]
"""Returns whether the caller still waits for the answer."""


class Silent(psycopg.OperationalError):
    """No answer came in time."""


class Lost(psycopg.OperationalError):
    """The connection ended while an answer was awaited."""

    def __init__(self, *, is_untouched: bool) -> None:
        """`is_untouched`: PostgreSQL ended the connection before it read the first statement sent."""
        self.is_untouched = is_untouched
        super().__init__("the connection is lost")


class Doubt:
    """What the loss or silence of one connection implies for other connections to the same peer."""

    __slots__ = ("lost", "noticed", "silent_since", "waited")

    def __init__(self) -> None:
        self.lost = -inf
        """The monotonic() time at which a connection was found dead."""
        self.noticed = -inf
        """The monotonic() time at which a connection had been silent for too long."""
        self.waited = inf
        """Seconds that it had waited for an answer then."""
        self.silent_since = inf
        """The monotonic() time since when the probe gets no answer; infinite while it gets answers."""

    @property
    def is_silent(self) -> bool:
        """Whether the probe has had no answer for some time. Callers are then refused instead of made to wait."""
        return monotonic() >= self.silent_since + CONFIRMED

    def probed(self, *, answered: bool) -> None:
        """Record the outcome of the probe: an answer, or silence."""
        self.silent_since = inf if answered else min(self.silent_since, monotonic())

    def note(self, waited: float) -> None:
        """Record that a connection was silent for longer than a live server ever takes to answer."""
        self.noticed, self.waited = monotonic(), waited


class PipelineConnection(psycopg.Connection[TupleRow]):
    """A connection that stays in pipeline mode: statements are sent together and answered together."""

    doubt: Doubt | None = None

    _poll: "select.poll | None" = None
    _kept: "OrderedDict[bytes, None]"
    _expected: list[tuple[Statement | None, bool]]
    _used = 0.0
    _wanted: Wanted | None = None
    # The monotonic() time until which the answer to a cancelled statement is awaited.
    _cut_at = inf

    def start(self) -> None:
        """Enter pipeline mode permanently, and greet (greeting.py). Raises psycopg.Error, and Silent."""
        self.pgconn.enter_pipeline_mode()
        self._poll = select.poll()
        self._poll.register(self.pgconn.socket, READS)
        # By name, in the order of use: the last one was used last.
        self._kept = OrderedDict()
        self._expected = []
        sent = shared.begin()
        self.send(GREET, {})
        # With a timeout, as everything in pipeline mode: the peer may fall silent right after the login.
        shared.learn(sent, self.receive(GREETED_WITHIN)[-1].one()["moment"])

    @property
    def last_used(self) -> float:
        """The monotonic() time of the last answer."""
        return self._used

    @property
    def is_doubtful(self) -> bool:
        """Whether another connection fell silent after the last answer on this one."""
        return self.doubt is not None and self._used < self.doubt.noticed

    @property
    def is_stale(self) -> bool:
        """Whether PostgreSQL has ended this idle connection. Its socket is then readable.

        Polled only after some idle time: the call releases the interpreter lock, which costs more than the answer is
        worth.
        """
        if monotonic() - self._used < FRESH and (self.doubt is None or self._used > self.doubt.lost):
            return self.closed
        return self.closed or self._poll is None or bool(self._poll.poll(0))

    @property
    def is_clean(self) -> bool:
        """Whether the next user gets it without an open transaction and without an outstanding answer."""
        idle = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        return idle and not self._expected and not self.closed

    def send_plain(self, sql: bytes) -> None:
        """Send a statement without parameters whose result is not read, such as BEGIN."""
        self.pgconn.send_query_params(sql, None)
        self._expected.append((None, False))

    def send(self, statement: Statement, parameters: Mapping[str, object]) -> None:
        """Send a statement. A kept statement that is not prepared on this connection is prepared too."""
        values = statement.encode(parameters)
        if statement.is_kept:
            try:
                self._kept.move_to_end(statement.name)
            except KeyError:
                self._prepare(statement)
            self.pgconn.send_query_prepared(statement.name, values, statement.formats, 1)
        else:
            self.pgconn.send_query_params(statement.sql, values, None, statement.formats, 1)
        self._expected.append((statement, False))

    def _prepare(self, statement: Statement) -> None:
        self.pgconn.send_prepare(statement.name, statement.sql)
        self._kept[statement.name] = None
        self._expected.append((statement, True))

    @property
    def sent(self) -> Sequence[tuple[Statement | None, bool]]:
        """Statements sent but not yet answered (None for plain ones), each with whether it is only prepared."""
        return self._expected

    def receive(self, timeout: float, wanted: Wanted | None = None) -> list[Result]:
        """Wait for the answers to everything sent, in order. Cancels it when the caller no longer waits.

        Raises the first error of PostgreSQL, as psycopg's exception of that SQLSTATE. Raises Lost, or Silent after
        `timeout` seconds without an answer; the connection is then closed.
        """
        closing = self._send_closing() if len(self._kept) > MOST_PREPARED else ()
        expected, self._expected = self._expected, []
        self._used = monotonic()
        self._wanted, self._cut_at = wanted, inf
        results: list[Result] = []
        failure: psycopg.Error | None = None
        answers = self._exchange(self._used + timeout)
        self._used = monotonic()
        if closing:
            self._note_closed(closing, answers[len(expected) :])
            del answers[len(expected) :]
        for (statement, prepares), answer in zip(expected, answers, strict=True):
            if answer.status in _FAILED:
                failure = failure or errors.error_from_result(answer, encoding="utf-8")
            if prepares:
                self._note_prepared(statement, answer)
            elif answer.status not in _UNANSWERED:
                results.append(Result(answer, statement))
        if failure is not None:
            raise failure
        return results

    def _note_prepared(self, statement: Statement | None, result: pq.abc.PGresult) -> None:
        """A statement counts as prepared when it is sent. If preparing failed, it no longer does."""
        if result.status in _UNANSWERED and statement is not None:
            self._kept.pop(statement.name, None)

    def _send_closing(self) -> Sequence[bytes]:
        """Send commands to close the least recently used statements. Returns their names, in the order of the answers.

        They follow the statements sent before, none of which uses those names.
        """
        names = list(islice(self._kept, len(self._kept) - MOST_PREPARED))
        for name in names:
            if CLOSES:
                self.pgconn.send_close_prepared(name)
            else:
                self.pgconn.send_query_params(b"DEALLOCATE " + name, None)
        return names

    def _note_closed(self, names: Sequence[bytes], results: Sequence[pq.abc.PGresult]) -> None:
        """Forget the closed statements. Those that an earlier failure left open are closed the next time."""
        for name, result in zip(names, results, strict=True):
            if result.status not in _UNANSWERED:
                self._kept.pop(name, None)

    def _exchange(self, deadline: float) -> list[pq.abc.PGresult]:
        """Send the queued commands. Returns one result per command."""
        answers: list[pq.abc.PGresult] = []
        try:
            self.pgconn.pipeline_sync()
            self._flush(deadline)
            self._collect(answers, deadline)
        except Silent:
            raise
        except psycopg.OperationalError as error:
            raise self._lost(answers, error) from error
        return answers

    def _lost(self, answers: Sequence[pq.abc.PGresult], error: psycopg.OperationalError) -> Lost:
        """The exception for a lost connection.

        PostgreSQL's last message, if any, shows whether it had read anything.
        """
        self.close()
        if self.doubt is not None:
            self.doubt.lost = monotonic()
        severity = answers[0].error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) if answers else None
        lost = Lost(is_untouched=severity == b"FATAL")
        state = "unused" if lost.is_untouched else "in use"
        log.warning("a connection to PostgreSQL is lost, %s: %s", state, " ".join(str(error).split()))
        return lost

    def _flush(self, deadline: float) -> None:
        while self.pgconn.flush():
            self._wait(WRITES, deadline)
            self.pgconn.consume_input()

    def _collect(self, answers: list[pq.abc.PGresult], deadline: float) -> None:
        """Add one result per command, up to the sync. libpq ends the results of each command with None."""
        pgconn = self.pgconn
        while True:
            while pgconn.is_busy():
                self._wait(READS, deadline)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                if pgconn.status != pq.ConnStatus.OK:
                    raise psycopg.OperationalError(pgconn.get_error_message().strip())
            elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                return
            else:
                answers.append(result)

    def _wait(self, events: int, deadline: float) -> None:
        """Wait for the socket. poll() releases the interpreter lock; libpq's own wait would hold it."""
        poll = self._poll
        if poll is None:
            raise psycopg.OperationalError("the connection was never started")
        if events != READS:
            poll.modify(self.pgconn.socket, events)
        try:
            while not poll.poll(LOOK * 1000):
                self._give_up_what_is_late(deadline)
                self._cancel_what_nobody_wants()
        finally:
            if events != READS and not self.closed:
                poll.modify(self.pgconn.socket, READS)

    def _give_up_what_is_late(self, deadline: float) -> None:
        """Close the connection and raise Silent if the deadline has passed or the peer is known to be gone."""
        now = monotonic()
        waited, doubt = now - self._used, self.doubt
        if now >= deadline and doubt is not None:
            doubt.note(waited)
        is_gone = doubt is not None and (
            (doubt.noticed > self._used and waited >= doubt.waited) or (waited >= PATIENCE and doubt.is_silent)
        )
        if now >= min(deadline, self._cut_at) or is_gone:
            self.close()
            raise Silent("PostgreSQL did not answer in time")

    def _cancel_what_nobody_wants(self) -> None:
        """Cancel once when the caller no longer waits.

        PostgreSQL answers QueryCanceled; the wait for that is bounded too.
        """
        if self._wanted is None or self._wanted():
            return
        self._wanted = None
        if psycopg.capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_WITHIN)
        else:
            # Before version 17, libpq waits without a limit, so another thread does it.
            threading.Thread(target=_cancel, args=(self.pgconn.get_cancel(),), daemon=True).start()
        self._cut_at = monotonic() + SILENCE_MARGIN


def _cancel(request: pq.abc.PGcancel) -> None:
    with suppress(psycopg.Error):
        request.cancel()


_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)
_UNANSWERED = (*_FAILED, pq.ExecStatus.PIPELINE_ABORTED)


class Usage(NamedTuple):
    """The state of a pool."""

    limit: int
    """Largest number of connections."""
    there: int
    """Connections that exist or are being made."""
    used: int
    """Connections in use or being made."""
    waiting: int
    """Callers that wait for a connection."""


class Connections:
    """The pool of one process for one role."""

    observer: Observer | None = None
    """Gets every round trip."""

    def __init__(
        self,
        dsn: str,
        *,
        size: int,
        wait: float,
        statement_timeout: float,
        name: str,
        idle: int = 1,
        doubt: Doubt | None = None,
        in_transaction: float = IN_TRANSACTION,
    ) -> None:
        """`wait` and `statement_timeout` are seconds; `name` appears in pg_stat_activity; `idle` connections are kept.

        Connections beyond `idle` are closed when they have not been needed for a while. Pools that share a `doubt`
        learn from each other that the peer has fallen silent. A transaction may wait for `in_transaction` seconds for
        its next statement.
        """
        self._doubt = doubt or Doubt()
        self.statement_timeout = statement_timeout
        self.silence = statement_timeout + SILENCE_MARGIN
        self._wait = wait
        self._size = size
        self._idle = idle
        self._refuse_until = 0.0
        # The connection that was released last is taken first: its data are in the caches of both sides. The pool
        # connects, replaces and bounds; going through it costs 6 us per transaction, this deque 0.2.
        self._free: deque[PipelineConnection] = deque()
        # One entry per caller that waits for the pool: appending and popping are atomic, counting would not be.
        self._waiting: list[None] = []
        self._pool = ConnectionPool(
            dsn,
            connection_class=PipelineConnection,
            kwargs=_parameters(dsn, name, wait, session(statement_timeout, in_transaction)),
            min_size=min(idle, size),
            max_size=size,
            max_idle=IDLE_FOR,
            timeout=wait,
            reconnect_timeout=RECONNECTS_FOR,
            configure=self._begin,
            open=False,
            name=name,
        )

    def _begin(self, connection: PipelineConnection) -> None:
        connection.doubt = self._doubt
        connection.start()

    def observe(self, observer: Observer) -> None:
        """Add an observer of round trips."""
        self.observer = Observers(self.observer, observer) if self.observer else observer

    def open(self) -> None:
        """Start to connect in the background."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close every connection."""
        while self._free:
            self._pool.putconn(self._free.pop())
        self._pool.close(timeout=2)

    @property
    def usage(self) -> Usage:
        """The state of the pool."""
        stats = self._pool.get_stats()
        there = stats["pool_size"]
        used = there - stats["pool_available"] - len(self._free)
        return Usage(self._size, there, max(0, used), len(self._waiting))

    def acquire(self) -> PipelineConnection:
        """A connection that was alive a moment ago. Raises DatabaseUnavailable if none becomes available in time."""
        if self._doubt.is_silent:
            raise DatabaseUnavailable
        for _ in range(2 * self._size + 1):
            connection = self._take()
            if not connection.is_stale and not connection.is_doubtful:
                return connection
            self.discard(connection)
        raise DatabaseUnavailable

    def release(self, connection: PipelineConnection) -> None:
        """Return a connection to the pool.

        A waiting caller registers before it looks once more at the free connections, and a release looks for waiting
        callers after it adds one, so that one of the two sees the other.
        """
        free = self._free
        free.append(connection)
        if self._waiting:
            self._pass_on()
        elif len(free) > self._idle:
            with suppress(IndexError):
                # The pool keeps an idle connection for the same time again before it closes it.
                if connection.last_used - free[0].last_used > IDLE_FOR:
                    self._pool.putconn(free.popleft())

    def discard(self, connection: PipelineConnection) -> None:
        """Close a connection; the pool replaces it."""
        connection.close()
        self._pool.putconn(connection)

    def _pass_on(self) -> None:
        """Pass a free connection to the pool, in which others wait."""
        try:
            connection = self._free.pop()
        except IndexError:
            return
        self._pool.putconn(connection)

    def _take(self) -> PipelineConnection:
        try:
            return self._free.pop()
        except IndexError:
            return self._get()

    def _get(self) -> PipelineConnection:
        """A connection from the pool, with a bounded wait. Callers beyond its size get released ones."""
        if self._refuse_until and self._is_refusing():
            raise DatabaseUnavailable
        self._waiting.append(None)
        try:
            connection = self._await()
        except (PoolTimeout, PoolClosed, TooManyRequests, psycopg.OperationalError) as error:
            if monotonic() - self._refuse_until > NEXT_WORD:
                log.error("%s has no connection to PostgreSQL: %s", self._pool.name, error)  # noqa: TRY400 - no stack
            self._refuse_until = monotonic() + OUTAGE_PAUSE
            raise DatabaseUnavailable from error
        finally:
            self._waiting.pop()
        self._refuse_until = 0.0
        return connection

    def _await(self) -> PipelineConnection:
        """A released connection, or one that the pool makes. Raises psycopg_pool's exceptions.

        The pool tries to connect for RECONNECTS_FOR seconds, and starts again only on request. It is therefore asked
        again every ASK_EVERY seconds, or it would not notice that PostgreSQL is back.
        """
        deadline = monotonic() + self._wait
        while True:
            # This caller is registered as waiting, so a connection released after this look goes to the pool.
            with suppress(IndexError):
                return self._free.pop()
            left = deadline - monotonic()
            try:
                return self._pool.getconn(min(left, ASK_EVERY))
            except PoolTimeout:
                if left <= ASK_EVERY:
                    raise

    def _is_refusing(self) -> bool:
        return monotonic() < self._refuse_until and not self._pool.get_stats()["pool_available"]


def _parameters(dsn: str, name: str, wait: float, options: str) -> ConnDict:
    """The parameters of libpq for every connection."""
    own: ConnDict = {
        "autocommit": True,
        "application_name": name,
        "connect_timeout": max(2, int(wait)),
        "options": options,
    }
    return own | keep_alive(dsn)
