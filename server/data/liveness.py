"""Timeouts for connections to a peer that may fall silent without closing them: a firewall that drops, a dead proxy.

Three timeouts work together. TCP keep-alive and `tcp_user_timeout` end a connection whose packets are not acknowledged.
A proxy acknowledges on behalf of a dead server, so each answer has a deadline on this side as well. PostgreSQL's own
statement timeout is shorter than that deadline: a live server has always answered by then, even if only with an error.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TypedDict, TypeVar, Unpack

import psycopg
from psycopg import Notify
from psycopg.abc import ConnDict, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from psycopg_pool.abc import AsyncConnectionCB

from server import pulses
from server.data.clock import shared
from server.data.greeting import GREETING
from server.pulses import Pulse

T = TypeVar("T")
# Names of libpq; seconds, except tcp_user_timeout. A dead peer is noticed about 11 s after the last packet.
KEEP_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Seconds that a transaction may wait for its client. The longer time is for handlers that wait for others within one,
# such as for the receiver of a test webhook.
IN_TRANSACTION = 15.0
LONG_IN_TRANSACTION = 25.0
# Seconds that a statement of a background reader may run, and that its answer is awaited.
STATEMENT_TIMEOUT = 10.0
SILENCE = 12.0
CONNECT_TIMEOUT = 5.0
# Seconds for which psycopg_pool tries to connect. Later requests make it try again, without a growing pause.
RECONNECT_TIMEOUT = 1.0
# Seconds after which a pool closes an idle connection, which takes about 3 MB in PostgreSQL.
IDLE_FOR = 30.0
# The defaults of psycopg. Seconds.
WAKES_EVERY = 0.1
OPENS_WITHIN = 30.0

AsyncConnection = psycopg.AsyncConnection[TupleRow]


def session(statement_timeout: float, in_transaction: float = IN_TRANSACTION) -> str:
    """Options of a session: the seconds that a statement may run, and that a transaction may wait for its client.

    Without them, a transaction whose client died silently would stay open for hours, and it would hold back readers of
    the event log. Where packets are dropped, PostgreSQL's own keep-alive ends it too.
    """
    return (
        f"-c statement_timeout={int(statement_timeout * 1000)} -c TimeZone=UTC "
        f"-c idle_in_transaction_session_timeout={int(in_transaction * 1000)} "
        "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"
    )


def service_of(name: str) -> str:
    """The part of `plinth worker-0 webhook gauges` in pg_stat_activity within its process: `webhook gauges`."""
    return name.split(" ", 2)[-1]


def keep_alive(dsn: str) -> dict[str, int]:
    """The parameters of libpq that end a connection to a dead peer, except those that the DSN sets."""
    given = conninfo_to_dict(dsn)
    return {name: value for name, value in KEEP_ALIVE.items() if name not in given}


class WatchedConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection on which an answer is awaited for at most SILENCE seconds.

    After that the connection is cut, and the waiting caller gets psycopg.OperationalError.
    """

    pulse: Pulse | None = None
    """Beats with each answer."""
    _listens = False

    async def wait(self, gen: PQGen[T], interval: float = WAKES_EVERY, timeout: float | None = None) -> T:
        """Wait as psycopg requests. All waits of a connection pass through here."""
        if self._listens:
            return await super().wait(gen, interval, timeout)
        # The socket is shut down rather than this task cancelled: psycopg would then wait for the answer to a cancel
        # request, from the same silent peer.
        cut = asyncio.get_running_loop().call_later(SILENCE, self._cut)
        try:
            result = await super().wait(gen, interval, timeout)
        finally:
            cut.cancel()
        if self.pulse is not None:
            self.pulse.beat()
        return result

    async def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> AsyncGenerator[Notify]:
        """Notifications. None may ever come, so the wait is unbounded: callers must run a query from time to time."""
        self._listens = True
        try:
            async for notification in super().notifies(timeout=timeout, stop_after=stop_after):
                yield notification
        finally:
            self._listens = False

    def _cut(self) -> None:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.pgconn.socket)) as peer:
            peer.shutdown(socket.SHUT_RDWR)


class PoolOptions(TypedDict, total=False):
    """The options of psycopg_pool that Plinth sets."""

    check: AsyncConnectionCB[AsyncConnection]
    max_lifetime: float
    max_size: int
    min_size: int
    open: bool
    timeout: float


class WatchedPool(AsyncConnectionPool[AsyncConnection]):
    """A pool of watched connections. With a `pulse`, it reports when PostgreSQL last answered.

    Each new connection greets first (greeting.py).
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        pulse: tuple[str, float] | None = None,
        kwargs: ConnDict | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """`pulse` is a name and a limit. The other arguments are those of psycopg_pool."""
        self._told = pulse
        self._pulse: Pulse | None = None
        connecting = {"connect_timeout": int(CONNECT_TIMEOUT)} | keep_alive(conninfo) | (kwargs or {})
        super().__init__(
            conninfo,
            connection_class=WatchedConnection,
            kwargs=connecting,
            configure=self._watch,
            reconnect_timeout=RECONNECT_TIMEOUT,
            max_idle=IDLE_FOR,
            **options,
        )

    async def open(self, wait: bool = False, timeout: float = OPENS_WITHIN) -> None:  # noqa: FBT001, FBT002 - the library's signature
        """Start to connect, and begin the pulse."""
        if self._told and self._pulse is None:
            self._pulse = pulses.begin(*self._told)
        await super().open(wait, timeout)

    async def _watch(self, connection: AsyncConnection) -> None:
        assert isinstance(connection, WatchedConnection)  # noqa: S101 - a narrowing for the type checker
        connection.pulse = self._pulse
        sent = shared.begin()
        cursor = await connection.execute(GREETING, prepare=False)
        for _, moment in await cursor.fetchall():
            shared.learn(sent, moment)
        await connection.commit()
