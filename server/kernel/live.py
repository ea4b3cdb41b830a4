"""Live streams: the event log, followed by one reader per process and fanned out to its subscribers.

A subscriber that resumes reads what it missed from the log, up to where the reader stands, and then takes what the
reader hands out; events are told apart by their position, so nothing is lost and nothing comes twice.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from time import time

import grpc
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from server.data.events import (
    READ_ALL,
    READ_END,
    READ_TENANT,
    Event,
    Position,
    event_of,
    read_parameters,
)
from server.kernel.call import Call
from server.kernel.problems import Malformed, Problem, Reason, Unauthenticated, Unavailable

log = logging.getLogger("plinth.live")

BATCH = 500
# How often the reader looks by itself; hints make it look at once.
POLL = 0.5
# After a hint that shows nothing yet, since an older transaction is still running: look again soon, a few times.
SOON = 0.01
LOOKS = 20
RECONNECT = 0.5

Hints = Callable[[], AsyncIterator[None]]
Alive = Callable[[Call], None]
"""Raises a problem when the caller of a stream may not go on. Blocks; run in a thread."""


class TooSlow(Problem):
    """You read too slowly and were cut off; resume from the last event you saw."""

    code = grpc.StatusCode.ABORTED
    http_status = 409
    reason = Reason.REASON_SUBSCRIBER_TOO_SLOW


class Subscription:
    """One subscriber: what waits for it, and how it ends."""

    def __init__(self, start: Position, size: int) -> None:
        self.start = start
        self.waiting: asyncio.Queue[Event | Problem] = asyncio.Queue(size)

    def offer(self, event: Event) -> bool:
        """Hand an event over, unless too many wait already."""
        try:
            self.waiting.put_nowait(event)
        except asyncio.QueueFull:
            self.end(TooSlow())
            return False
        return True

    def end(self, problem: Problem) -> None:
        """End with a problem, and give up what waits: what was handed out stays a prefix of the log."""
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(problem)


class LiveEvents:
    """Follows the log of all tenants for the subscribers of one process."""

    def __init__(self, dispatch_dsn: str, hints: Hints, alive: Alive, *, queue: int, keep_alive: float) -> None:
        """`queue` is how many events may wait for a subscriber; `keep_alive` is seconds."""
        self._pool = AsyncConnectionPool(
            dispatch_dsn,
            min_size=1,
            max_size=4,
            timeout=3,
            open=False,
            kwargs={"autocommit": True, "application_name": "plinth realtime"},
        )
        self._hints = hints
        self._alive = alive
        self._queue = queue
        self._keep_alive = keep_alive
        self._news = asyncio.Event()
        self._position: Position | None = None
        self._ready = asyncio.Event()
        self._subscriptions: dict[str, set[Subscription]] = defaultdict(set)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to follow the log, from its end."""
        await self._pool.open(wait=False)
        self._tasks = [asyncio.create_task(self._read_forever()), asyncio.create_task(self._listen_forever())]

    async def close(self) -> None:
        """End every stream, saying so, and stop."""
        for subscription in [s for group in self._subscriptions.values() for s in group]:
            subscription.end(Unavailable("server"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    async def follow(self, call: Call, prefix: str, last_event_id: str) -> AsyncIterator[Event | Position | None]:
        """The events of the call's tenant whose type begins with `prefix`, after an event or from now on.

        First comes the position it starts from, and None when nothing came for a while. Raises Malformed for an event
        id that is none, TooSlow, Unavailable, and Unauthenticated once the caller's credentials count no more.
        """
        tenant_id = str(call.tenant_id)
        after = _parse(last_event_id)
        await self._look_at_caller(call)
        subscription = await self._subscribe(tenant_id)
        try:
            position = after or subscription.start
            yield position
            if after is not None:
                async for event in self._missed(tenant_id, after, subscription.start):
                    position = event.position
                    if event.type.startswith(prefix):
                        yield event
            async for item in self._coming(call, subscription):
                if item is None:
                    yield None
                elif item.position > position:
                    position = item.position
                    if item.type.startswith(prefix):
                        yield item
        finally:
            self._unsubscribe(tenant_id, subscription)

    async def _subscribe(self, tenant_id: str) -> Subscription:
        try:
            async with asyncio.timeout(3):
                await self._ready.wait()
        except TimeoutError as error:
            raise Unavailable("database") from error
        start = self._position or Position(0, 0)
        subscription = Subscription(start, self._queue)
        self._subscriptions[tenant_id].add(subscription)
        return subscription

    def _unsubscribe(self, tenant_id: str, subscription: Subscription) -> None:
        group = self._subscriptions.get(tenant_id, set())
        group.discard(subscription)
        if not group:
            self._subscriptions.pop(tenant_id, None)

    async def _missed(self, tenant_id: str, after: Position, until: Position) -> AsyncIterator[Event]:
        """What the log holds between two positions, read in batches."""
        position = after
        while position < until:
            events = await self._read(READ_TENANT, position, tenant_id)
            for event in events:
                if event.position > until:
                    return
                yield event
            if len(events) < BATCH:
                return
            position = events[-1].position

    async def _coming(self, call: Call, subscription: Subscription) -> AsyncIterator[Event | None]:
        """What the reader hands out; None when nothing came for a while. The caller is looked at again every time."""
        looked = time()
        while True:
            try:
                async with asyncio.timeout(self._keep_alive):
                    item = await subscription.waiting.get()
            except TimeoutError:
                item = None
            if isinstance(item, Problem):
                raise item
            if item is None or time() - looked >= self._keep_alive:
                await self._look_at_caller(call)
                looked = time()
            yield item

    async def _look_at_caller(self, call: Call) -> None:
        if call.caller.expires_at < time():
            raise Unauthenticated("The access token has expired.", reason=Reason.REASON_TOKEN_EXPIRED)
        await asyncio.to_thread(self._alive, call)

    # The reader ----------------------------------------------------------------------------------------------------

    async def _listen_forever(self) -> None:
        """Turn hints into a look at the log; without Redis the reader still looks by itself."""
        while True:
            try:
                async for _ in self._hints():
                    self._news.set()
            except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on
                log.warning("no hints of new events: %s", error)
            await asyncio.sleep(RECONNECT)

    async def _read_forever(self) -> None:
        while True:
            try:
                await self._read_on()
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("the event log cannot be read: %s", type(error).__name__)
                await asyncio.sleep(RECONNECT)

    async def _read_on(self) -> None:
        if self._position is None:
            self._position = await self._end()
            self._ready.set()
        while True:
            hinted = await self._wait_for_news()
            for _ in range(LOOKS if hinted else 1):
                if await self._hand_out():
                    break
                await asyncio.sleep(SOON if hinted else 0)

    async def _wait_for_news(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._news.wait()
        hinted = self._news.is_set()
        self._news.clear()
        return hinted

    async def _hand_out(self) -> bool:
        """Read everything that is new and give it to whom it concerns. False when there was nothing."""
        found = False
        while True:
            events = await self._read(READ_ALL, self._position or Position(0, 0))
            for event in events:
                self._give(event)
            found = found or bool(events)
            if len(events) < BATCH:
                return found

    def _give(self, event: Event) -> None:
        self._position = event.position
        for subscription in list(self._subscriptions.get(event.tenant_id, ())):
            if not subscription.offer(event):
                self._unsubscribe(event.tenant_id, subscription)

    async def _read(self, query: str, position: Position, tenant_id: str = "") -> list[Event]:
        parameters = read_parameters(position, BATCH) | ({"tenant_id": tenant_id} if tenant_id else {})
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [event_of(row) for row in await cursor.fetchall()]

    async def _end(self) -> Position:
        """Where the log ends now: everything below this transaction has been decided."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(READ_END)
            row = await cursor.fetchone()
        return Position(int(row[0]) if row else 0, 2**63 - 1)


def _parse(event_id: str) -> Position | None:
    if not event_id:
        return None
    try:
        return Position.parse(event_id)
    except ValueError as error:
        raise Malformed(f"last_event_id: {error}.") from error
