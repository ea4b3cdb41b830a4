"""Live streams: one reader per process follows the event log and fans it out to the subscribers.

A subscriber that resumes first gets the events that it missed, up to the position of the reader: from memory, where the
last events are kept, or else from the log. Then it gets what the reader hands out. Positions identify events, so none
is lost and none comes twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from math import ceil, inf

import grpc
import psycopg
from prometheus_client import Histogram
from psycopg_pool import PoolTimeout

from server import pulses
from server.data.events import Position
from server.kernel import problems
from server.kernel.call import Call
from server.kernel.clock import unix_now
from server.kernel.hints import PACE, HintListener, Hints
from server.kernel.live.event_log import CONNECTIONS, LAST_SEQUENCE, EventLog
from server.kernel.live.recent import RecentEvents
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.live.subscriptions import SLOTS, LiveEvent, Subscription, Subscriptions, take_message
from server.kernel.live.visibility import Visibility
from server.kernel.problems import Malformed, Problem, Reason, Unauthenticated, Unavailable
from server.kernel.record.metrics import EVENT_LAG

log = logging.getLogger("plinth.live")

BATCH = 250
# Seconds between two reads of the log without a hint. After a hint the reader reads at once, and again SOON if it found
# nothing, because events that an older transaction holds back become visible a moment later.
POLL = 0.5
SOON = 0.01
RECONNECT = 0.5
MEASURE = 1.0
# Seconds that a new subscriber waits for a reader that has just started.
READY_WITHIN = 3.0
# How often a new subscriber is checked, when the reader begins anew each time.
ADMISSIONS = 3
# After a full batch the reader pauses until few subscribers have events waiting, or none of them makes progress.
# Subscribers are to be cut for reading slowly, not because this process had no time to send.
FEW = 0.1
PAUSE = 0.05
PAUSES = 5
# Events kept for subscribers that resume. A process that starts reads the last REACH transactions of the log, because
# its subscribers were connected to another process a moment ago.
RECENT = 4000
# Bytes of payload. The forms made for sending take about twice as much again.
RECENT_BYTES = 8 * 1024 * 1024
REACH = 10_000
PERSON_ERASED = "user.erased"
"""The event of a tenant in whose earlier events nothing of a person is left."""
READER = "live"
PULSE = "live events"
STALL = 10.0
# Seconds between two checks whether the log answers.
WATCH = 1.0
LAGS = 1_000

LAG = Histogram(
    "plinth_stream_lag_seconds",
    "How old events were when they were handed out: the transaction that wrote them, commit and fan-out.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0),
)


class UnknownEvent(Problem):
    """The log does not know this event: the database was put back to an earlier moment. Begin without an event id."""

    code = grpc.StatusCode.OUT_OF_RANGE
    http_status = 400
    reason = Reason.REASON_EVENT_UNKNOWN


Alive = Callable[[Call], None]
"""Raises a problem if the caller of a stream no longer has access. Blocks; run in a thread."""
Review = Callable[[Sequence[Call]], None]
"""Checks in the database whether the access of these streams is still current. Alive decides anew for the others.

Raises nothing. Blocks; run in a thread.
"""


class LiveEvents:
    """Follows the log of all tenants for the subscribers of one process."""

    def __init__(
        self,
        dispatch_dsn: str,
        hints: Hints,
        alive: Alive,
        review: Review,
        places: StreamPlaces,
        *,
        visibility: Visibility,
        queue: int,
        keep_alive: float,
        stall: float = STALL,
    ) -> None:
        """`queue` is how many events may wait for a subscriber; `keep_alive` is seconds.

        If the log has not answered for `stall` seconds, streams are ended, because a keep-alive would be a lie.
        """
        self._stall = stall
        self._log = EventLog(dispatch_dsn)
        self._alive = alive
        self._review = review
        self.visibility = visibility
        self._queue = queue
        self._keep_alive = keep_alive
        # Half a queue, so that a subscriber that reads in time never has a full queue.
        self._batch = min(BATCH, queue // 2)
        self._hints = HintListener(hints)
        self._position = Position(0, 0)
        self._recent = RecentEvents(self._position, most=0, most_bytes=0)
        self._ready = asyncio.Event()
        # How often the reader has begun.
        self._begun = 0
        self._subscriptions = Subscriptions(places)
        # One connection is reserved for the reader.
        self._resuming = asyncio.Semaphore(CONNECTIONS - 1)
        # A thread of its own, so that rechecks of open streams do not wait behind many new subscribers.
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="recheck")
        self._closing = False
        self._at_end = unix_now()
        self._measured = 0.0
        # Those of the last events.
        self._lags: deque[float] = deque(maxlen=LAGS)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start to follow the log, from its end."""
        await self._log.open()
        self._pulse = pulses.begin(PULSE, self._stall)
        work = (self._read_forever(), self._hints.listen(), self._look_round_forever(), self._watch_forever())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def close(self) -> None:
        """End every stream with a problem, and stop."""
        self._closing = True
        pulses.end(self._pulse)
        self._subscriptions.end(lambda: Unavailable("server"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._looking.shutdown(wait=False)
        await self._log.close()

    @property
    def position(self) -> Position:
        """The position of the reader. Events of transactions that begin from now on come after it."""
        return self._position

    def subscribers(self, method: str) -> list[Subscription]:
        """Those of one RPC, by its path. May be called in any thread."""
        return [each for each in self._subscriptions.all() if each.call.method.path == method]

    def lag_p95(self) -> float | None:
        """How many seconds old 95 in 100 of the last events at most were when they were handed out; None without any.

        May be called in any thread.
        """
        lags = sorted(self._lags.copy())
        return lags[ceil(len(lags) * 0.95) - 1] if lags else None

    def check_place(self, call: Call) -> None:
        """Raise NoPlace if the caller may open no further stream. Another one may still come first."""
        self._subscriptions.check_place(call)

    async def before(self, tenant_id: str, resource_id: str) -> Position:
        """The position right before the first event of a resource. Raises Unavailable."""
        try:
            async with self._resuming:
                return await self._log.before(tenant_id, resource_id) or self._position
        except (psycopg.Error, PoolTimeout) as error:
            raise Unavailable("database") from error

    async def follow(
        self,
        call: Call,
        patterns: tuple[str, ...],
        last_event_id: str,
        *,
        known: Position | None = None,
        resource_id: str = "",
        own: bool = False,
    ) -> AsyncIterator[list[LiveEvent] | Position]:
        """The events of the call's tenant whose type matches a pattern, after an event or from now on.

        A pattern is a type, a family such as `page.*`, or `*`. The caller gets those that its permissions show. With
        `known`, a position of this server, the events are those after it; with a `resource_id`, those of this resource;
        with `own`, those whose audience is the caller, even if permissions show those of others.

        The first item is the start position. Then come events, one or several together, and an empty list when a
        keep-alive is due. Raises Malformed for an invalid event id, UnknownEvent, NoPlace, TooSlow, Unavailable, and
        the problem of a caller whose credentials or access have ended.
        """
        after = known or _parse(last_event_id)
        await self._admit(call, after if known is None else None)
        # Nothing is awaited from here to the registration, so that no event comes in between.
        start = self._position
        subscription = Subscription(
            *(call, patterns, start, after),
            size=self._queue,
            visibility=self.visibility,
            resource_id=resource_id,
            own=own,
        )
        missed = self._missed(subscription, after or start, self._recent.after(str(call.tenant_id), after or start))
        self._subscriptions.add(subscription)
        try:
            yield after or start
            async for events in missed:
                yield events
            # Release the missed events, which would otherwise be kept as long as the stream lives.
            del missed
            events = []
            while True:
                yield await subscription.next()
        finally:
            self._subscriptions.remove(subscription)

    async def _admit(self, call: Call, after: Position | None) -> None:
        """Check a subscriber; again if the reader began anew meanwhile: what it loads then, it hands out to nobody."""
        for _ in range(ADMISSIONS):
            await self.wait_until_ready()
            begun = self._begun
            if call.access is None:
                # Neither session nor tenant has been checked so far.
                await asyncio.to_thread(self._alive, call)
            if after is not None and after not in self._recent:
                await self._refuse_unknown(after)
            if begun == self._begun:
                return
        raise Unavailable("database")

    async def _refuse_unknown(self, after: Position) -> None:
        """Raise UnknownEvent unless the log has the event.

        Another process may be ahead of this one, but not of the log.
        """
        try:
            async with self._resuming:
                is_known = await self._log.knows(after)
                end = await self._log.end() if after > self._position else None
        except (psycopg.Error, PoolTimeout) as error:
            raise Unavailable("database") from error
        if not is_known or (end is not None and after > end.position):
            raise UnknownEvent

    async def wait_until_ready(self) -> None:
        """Wait until streams can begin. Raises Unavailable."""
        if not self._ready.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(READY_WITHIN):
                    await self._ready.wait()
        if self._closing or not self._ready.is_set() or self._pulse.is_late:
            raise Unavailable("server" if self._closing else "database")

    async def _missed(
        self, subscription: Subscription, after: Position, remembered: list[LiveEvent] | None
    ) -> AsyncIterator[list[LiveEvent]]:
        """The events between `after` and the start of the subscription, in messages. The log is read in batches."""
        batches = self._logged(subscription, after) if remembered is None else _at_once(remembered)
        async for events in batches:
            waiting = deque(event for event in events if subscription.wants(event.event))
            while waiting:
                yield take_message(waiting)

    async def _logged(self, subscription: Subscription, after: Position) -> AsyncIterator[list[LiveEvent]]:
        tenant_id, until = str(subscription.call.tenant_id), subscription.start
        events = None
        while events is None or (len(events) == BATCH and after < until):
            async with self._resuming:
                events = await self._log.of_tenant_after(tenant_id, after, BATCH, until)
            yield [LiveEvent(event) for event in events if event.position <= until]
            after = events[-1].position if events else until

    # The reader ----------------------------------------------------------------------------------------------------

    async def _read_forever(self) -> None:
        while True:
            try:
                await self._read_on()
            except Exception as error:
                # Caught, whatever it is: no other task reads the log.
                known = isinstance(error, psycopg.Error | PoolTimeout)
                log.warning("the event log cannot be read: %s", type(error).__name__, exc_info=None if known else error)
                EVENT_LAG.labels(READER).set(unix_now() - self._at_end)
                await asyncio.sleep(RECONNECT)

    async def _read_on(self) -> None:
        if not self._ready.is_set():
            await self._begin()
        else:
            await self._find_place_again()
        hinted, pause = False, POLL
        while True:
            if await self._hand_out():
                await asyncio.sleep(PACE)
                pause = PACE
            else:
                pause = SOON if hinted else min(POLL, pause * 2)
            hinted = await self._hints.wait(pause)

    async def _begin(self) -> None:
        """Start at the end of the log, and load the last events, unless they are too many to read quickly."""
        self._begun += 1
        self._ready.clear()
        end = (await self._log.end()).position
        position = Position(max(0, end.transaction_id - REACH), LAST_SEQUENCE)
        self._recent = RecentEvents(position, most=RECENT, most_bytes=RECENT_BYTES)
        for _ in range(RECENT // BATCH):
            events = await self._log.after(position, BATCH)
            for event in events:
                position = event.position
                self._recent.add(LiveEvent(event))
            if len(events) < BATCH:
                break
        else:
            position = end
            self._recent = RecentEvents(end, most=RECENT, most_bytes=RECENT_BYTES)
        self._position = max(position, end)
        self._ready.set()

    async def _find_place_again(self) -> None:
        """Check the position after a fault: the database may now be a copy that lacks events already handed out."""
        end = await self._log.end()
        if self._position > end.position or not await self._log.knows(self._position):
            log.error("the event log lacks what was handed out: the database was put back to an earlier moment")
            self._subscriptions.end(UnknownEvent)
            await self._begin()
        elif self._position.transaction_id < end.base:
            # The log may no longer have the remembered events, because they are of an earlier epoch.
            self._recent = RecentEvents(self._position, most=RECENT, most_bytes=RECENT_BYTES)

    async def _hand_out(self) -> bool:
        """Read all new events and give each to its subscribers. Returns whether there were any."""
        found = False
        while True:
            events = await self._log.after(self._position, self._batch)
            found = found or bool(events)
            for event in events:
                self._give(LiveEvent(event))
            if len(events) < self._batch:
                self._at_end = unix_now()
                self._pulse.beat()
                await self._measure()
                return found
            self._pulse.beat()
            EVENT_LAG.labels(READER).set(unix_now() - events[-1].create_time.timestamp())
            await self._let_them_catch_up()

    async def _measure(self) -> None:
        """Record the age of the first event that may not be read yet, about once a second."""
        if self._at_end - self._measured >= MEASURE:
            EVENT_LAG.labels(READER).set(await self._log.lag(self._position))
            self._measured = self._at_end

    def _give(self, event: LiveEvent) -> None:
        self._position = event.position
        self._recent.add(event)
        self._subscriptions.give(event)
        if event.event.type == PERSON_ERASED:
            # Subscribers that resume get the tenant's events as the log has them now.
            self._recent.forget(event.event.tenant_id)
        lag = unix_now() - event.event.create_time.timestamp()
        LAG.observe(lag)
        self._lags.append(lag)

    async def _let_them_catch_up(self) -> None:
        before, behind = inf, self._subscriptions.behind()
        for _ in range(PAUSES):
            if not FEW < behind < before:
                return
            await asyncio.sleep(PAUSE)
            before, behind = behind, self._subscriptions.behind()

    async def _watch_forever(self) -> None:
        """End every stream while the log does not answer. A client that resumes elsewhere or later misses no event."""
        while True:
            await asyncio.sleep(WATCH)
            if self._pulse.is_late:
                self._subscriptions.end(lambda: Unavailable("database"))

    # Subscribers -----------------------------------------------------------------------------------------------------

    async def _look_round_forever(self) -> None:
        """Visit every subscriber once per `keep_alive`: send a keep-alive, and check whether it still has access."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for slot in cycle(range(SLOTS)):
            due = max(due + self._keep_alive / SLOTS, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                await self._look_at(self._subscriptions.slot(slot))
            except Exception:
                log.exception("subscribers cannot be looked at")

    async def _look_at(self, chosen: Sequence[Subscription]) -> None:
        if not chosen:
            return
        for subscription in chosen:
            subscription.nudge()
        refusals = await asyncio.get_running_loop().run_in_executor(self._looking, self._refusals, chosen)
        for subscription, refusal in zip(chosen, refusals, strict=True):
            if refusal is None:
                self._subscriptions.look_again(subscription)
            elif subscription in self._subscriptions:
                subscription.end(refusal)

    def _refusals(self, chosen: Sequence[Subscription]) -> list[Problem | None]:
        # Streams that have ended meanwhile are not checked: each check may take as long as an outage.
        here = [one for one in chosen if one in self._subscriptions]
        self._review([one.call for one in here])
        return [self._refusal(one.call) if one in self._subscriptions else None for one in chosen]

    def _refusal(self, call: Call) -> Problem | None:
        """The reason to end the stream of this caller, or None."""
        if call.caller.expires_at < unix_now():
            return Unauthenticated("The access token has expired.", reason=Reason.REASON_TOKEN_EXPIRED)
        try:
            self._alive(call)
        except Exception as error:  # noqa: BLE001 - whoever cannot be looked at does not go on
            return problems.of(error)
        return None


async def _at_once(events: list[LiveEvent]) -> AsyncIterator[list[LiveEvent]]:
    yield events


def _parse(event_id: str) -> Position | None:
    if not event_id:
        return None
    try:
        return Position.parse(event_id)
    except ValueError as error:
        raise Malformed(f"last_event_id: {error}.") from error
