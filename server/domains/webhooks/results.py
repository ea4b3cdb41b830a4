"""Results of attempts, written together with other results of the same moment.

One transaction writes all of them: the states of webhooks, deliveries, their attempts, and the state of the queues. An
empty queue is removed: its row is locked first, and the next statement checks whether it is empty. A concurrent
addition (dispatch.py, replays) is therefore either seen or creates the queue again.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVarTuple

import psycopg
from psycopg_pool import PoolTimeout

from server.data.statements import Row
from server.domains.webhooks import result_statements as sql
from server.domains.webhooks.health import Happening
from server.domains.webhooks.queues import Connection, Pool, Visit
from server.domains.webhooks.receivers import Story, update_receivers
from server.kernel.clock import Clock

Arguments = TypeVarTuple("Arguments")
log = logging.getLogger("plinth.webhooks")
# Seconds that a result waits for others to be written with it.
GATHER = 0.01
LEASE = timedelta(seconds=30)
# Seconds between renewals of leases.
RENEWAL = 5.0
RECONNECT = 0.5
# Attempts to write the results of one webhook whose rows are locked or refused, and the seconds in between.
TRIES = 5
LATER = 1.0


class Unwritten(Exception):
    """A result cannot be written. The delivery is sent again when the lease of its queue expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The result of one delivery."""

    id: str
    status: int
    attempts: int
    time: datetime
    fault: str = ""
    status_code: int = 0
    again: datetime | None = None
    """The time of the next attempt."""
    attempt: Row | None = None
    """The row of the attempt, if there was one."""
    happening: Happening | None = None
    pause_until: datetime | None = None


@dataclass(slots=True)
class Result:
    """A report of a visit: a delivery, the end of the visit, or both."""

    visit: Visit
    delivered: Delivered | None = None
    ends: bool = False
    again: datetime | None = None
    """When the queue is due again after the end of the visit; None for at once, if anything waits in it."""
    written: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tries: int = 0


class Results:
    """Writes results, and renews leases."""

    def __init__(self, pool: Pool, visits: Iterable[Visit], clock: Clock) -> None:
        """`visits` are those under way at any moment."""
        self._pool = pool
        self._visits = visits
        self._clock = clock
        self._waiting: list[Result] = []
        self._news = asyncio.Event()
        self._closing = False

    def add(self, result: Result) -> "asyncio.Future[None]":
        """Add a result. The future is done once it is committed, or raises Unwritten if it cannot be written."""
        self._waiting.append(result)
        self._news.set()
        return result.written

    async def run(self) -> None:
        """Write until closed and nothing is left."""
        loop = asyncio.get_running_loop()
        renewal = loop.time() + RENEWAL
        while self._waiting or not self._closing:
            try:
                async with asyncio.timeout_at(renewal):
                    await self._news.wait()
            except TimeoutError:
                await self._insist(self._renew)
                renewal = loop.time() + RENEWAL
            else:
                await asyncio.sleep(GATHER)
                self._news.clear()
                batch, self._waiting = self._waiting, []
                await self._insist(self._write, batch)

    def close(self) -> None:
        """Write the remaining results, and stop."""
        self._closing = True
        self._news.set()

    async def _insist(self, action: Callable[[*Arguments], Awaitable[None]], *arguments: *Arguments) -> None:
        """Repeat an action until the database is available."""
        while True:
            try:
                await action(*arguments)
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                log.warning("results of webhooks cannot be written: %s", type(error).__name__)
                await asyncio.sleep(RECONNECT)
            else:
                return

    async def _write(self, batch: Sequence[Result]) -> None:
        """Write all results in one transaction. If the database refuses it, use one transaction per webhook."""
        unwritten = [result for result in batch if not result.written.done()]
        try:
            await self._commit(unwritten)
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            await self._write_apart(unwritten)

    async def _write_apart(self, batch: Iterable[Result]) -> None:
        groups: dict[str, list[Result]] = defaultdict(list)
        for result in batch:
            groups[result.visit.webhook_id].append(result)
        for group in groups.values():
            try:
                await self._commit(group)
            except psycopg.Error as error:
                if error.sqlstate is None:
                    raise
                log.warning("results of a webhook cannot be written: %s", type(error).__name__)
                self._postpone(group)

    def _postpone(self, group: Iterable[Result]) -> None:
        loop = asyncio.get_running_loop()
        for result in group:
            result.tries += 1
            if result.tries < TRIES and not self._closing:
                loop.call_later(LATER * result.tries, self.add, result)
            elif not result.written.done():
                result.written.set_exception(Unwritten())

    async def _commit(self, batch: Sequence[Result]) -> None:
        if not batch:
            return
        now = self._clock()
        ended = [result for result in batch if result.ends]
        told = [(result.visit, result.delivered) for result in batch if result.delivered is not None]
        async with self._pool.connection() as connection, connection.transaction():
            await update_receivers(connection, _stories(told), now)
            async with connection.pipeline():
                await self._store(connection, told, ended, now)
        for result in batch:
            if not result.written.done():
                result.written.set_result(None)

    async def _store(
        self, connection: Connection, told: Sequence[tuple[Visit, Delivered]], ended: Sequence[Result], now: datetime
    ) -> None:
        queues = _keys([result.visit for result in ended])
        if ended:
            await connection.execute(sql.LOCK, queues)
        if told:
            await connection.execute(sql.DELIVERIES, {"deliveries": _deliveries(told)})
        attempts = [(visit, one) for visit, one in told if one.attempt is not None]
        if attempts:
            await connection.execute(sql.ATTEMPTS, {"attempts": _attempts(attempts)})
        if ended:
            queues |= {"again": [result.again for result in ended], "now": now}
            await connection.execute(sql.REMOVE, queues)
            await connection.execute(sql.RELEASE, queues)

    async def _renew(self) -> None:
        """Renew the leases of all visits, and mark those that have lost theirs."""
        visits = [visit for visit in self._visits if not visit.lost]
        if not visits:
            return
        lease = self._clock() + LEASE
        async with self._pool.connection() as connection:
            cursor = await connection.execute(sql.RENEW, _keys(visits) | {"lease": lease})
            held = {tuple(row) for row in await cursor.fetchall()}
        for visit in visits:
            if (visit.tenant_id, visit.webhook_id, visit.subject) in held:
                visit.lease = lease
            else:
                visit.lost = True


def _stories(told: Iterable[tuple[Visit, Delivered]]) -> dict[tuple[str, str], Story]:
    stories: dict[tuple[str, str], Story] = {}
    for visit, one in told:
        if one.happening is not None:
            story = stories.setdefault((visit.tenant_id, visit.webhook_id), Story())
            story.happenings.append((one.happening, one.time))
            story.pause_until = max(filter(None, (story.pause_until, one.pause_until)), default=None)
    return stories


def _keys(visits: Sequence[Visit]) -> dict[str, object]:
    return {
        "tenants": [visit.tenant_id for visit in visits],
        "webhooks": [visit.webhook_id for visit in visits],
        "subjects": [visit.subject for visit in visits],
        "leases": [visit.lease for visit in visits],
    }


def _deliveries(told: Iterable[tuple[Visit, Delivered]]) -> str:
    return _json(
        {
            "tenant": visit.tenant_id,
            "id": one.id,
            "status": one.status,
            "attempts": one.attempts,
            "code": one.status_code,
            "fault": one.fault,
            "again": one.again,
            "finished": None if one.again else one.time,
        }
        for visit, one in told
    )


def _attempts(told: Iterable[tuple[Visit, Delivered]]) -> str:
    return _json({"tenant": visit.tenant_id, "id": one.id, **(one.attempt or {})} for visit, one in told)


def _json(rows: Iterable[Mapping[str, object]]) -> str:
    return json.dumps(list(rows), ensure_ascii=False, default=datetime.isoformat)
