"""Limits for connections to a peer that may fall silent without closing them: a firewall that drops, a dead proxy.

Three limits work together. TCP keep-alive and `tcp_user_timeout` end a connection whose packets nobody acknowledges.
A proxy acknowledges for a server that is gone; so each answer has a deadline on this side as well. PostgreSQL's own
statement timeout is shorter than that deadline: a server that lives has always answered by then, with an error if
nothing else.
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
# libpq's names; seconds, but for tcp_user_timeout. Dead peers are noticed some 11 s after the last packet.
KEEP_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Seconds that a transaction may wait for its client; and where handlers wait for others in the middle of one, such as
# for the receiver of a webhook that is tried.
IN_TRANSACTION = 15.0
LONG_IN_TRANSACTION = 25.0
# Seconds that a statement of a background reader may run, and for which its answer is awaited.
STATEMENT_TIMEOUT = 10.0
SILENCE = 12.0
CONNECT_TIMEOUT = 5.0
# psycopg_pool tries in vain for this long; afterwards the next user has it try again, without a growing pause.
RECONNECT_TIMEOUT = 1.0
# Seconds after which a pool closes what nobody needs of it: a connection takes PostgreSQL some 3 MB.
IDLE_FOR = 30.0
# psycopg's own defaults. Seconds.
WAKES_EVERY = 0.1
OPENS_WITHIN = 30.0

AsyncConnection = psycopg.AsyncConnection[TupleRow]


def session(statement_timeout: float, in_transaction: float = IN_TRANSACTION) -> str:
    """Options of a session: how many seconds a statement may run, and a transaction may wait for its client.

    A transaction whose client has died without a word would else stay open for hours, and readers of the event log come
    no further than the oldest one that is open. PostgreSQL's own keep-alive ends it too where packets are dropped.
    """
    return (
        f"-c statement_timeout={int(statement_timeout * 1000)} -c TimeZone=UTC "
        f"-c idle_in_transaction_session_timeout={int(in_transaction * 1000)} "
        "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"
    )


def service_of(name: str) -> str:
    """What `plinth worker-0 webhook gauges` in pg_stat_activity is within its process: `webhook gauges`."""
    return name.split(" ", 2)[-1]


def keep_alive(dsn: str) -> dict[str, int]:
    """Parameters of libpq that end a connection to a dead peer, except those that the DSN sets itself."""
    given = conninfo_to_dict(dsn)
    return {name: value for name, value in KEEP_ALIVE.items() if name not in given}


class WatchedConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection on which no answer is awaited for longer than SILENCE seconds.

    A connection that was silent for that long is cut off; the caller that waits gets psycopg.OperationalError.
    """

    pulse: Pulse | None = None
    """Beats with each answer."""
    _listens = False

    async def wait(self, gen: PQGen[T], interval: float = WAKES_EVERY, timeout: float | None = None) -> T:
        """Wait for what psycopg asks for. Everything that a connection does passes through here."""
        if self._listens:
            return await super().wait(gen, interval, timeout)
        # The socket is shut down, instead of this task cancelled: psycopg would then wait for the answer to a cancel
        # request, from the same peer.
        cut = asyncio.get_running_loop().call_later(SILENCE, self._cut)
        try:
            result = await super().wait(gen, interval, timeout)
        finally:
            cut.cancel()
        if self.pulse is not None:
            self.pulse.beat()
        return result

    async def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> AsyncGenerator[Notify]:
        """Notifications. None need come, so none is awaited in bounds: callers ask something now and then."""
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
    """Those options of psycopg_pool that pools of ours are given; of others, its defaults hold."""

    check: AsyncConnectionCB[AsyncConnection]
    max_lifetime: float
    max_size: int
    min_size: int
    open: bool
    timeout: float


class WatchedPool(AsyncConnectionPool[AsyncConnection]):
    """A pool of them. With a `pulse`, it tells others when PostgreSQL last answered.

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
        """`pulse` is a name and a limit; what else there is are psycopg_pool's names and values."""
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
        """Begin to connect, and to be judged."""
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
