"""Subscriptions to live events: what waits for each subscriber, and which events concern whom.

Everything here belongs to one event loop. An event is looked at once per group of subscribers that ask for the same,
and costs each of them an append; what it looks like on the wire is made once for all.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar, cast

import grpc
from prometheus_client import Counter, Gauge

from server.data.events import Event, Position
from server.kernel.call import Call
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.problems import Problem, Reason
from server.kernel.record.metrics import method_label

# What one message to a subscriber may join, in bytes of payload; a single event may be larger.
MESSAGE_BYTES = 32 * 1024
# Everybody is looked at once per round, a slot at a time, so that not all is done at once.
SLOTS = 10

OPEN = Gauge("plinth_streams_open", "Live streams that are open.", ["method"], multiprocess_mode="livesum")
EVENTS = Counter("plinth_stream_events", "Events handed to subscribers, each counted for every one of them.")
CUT = Counter("plinth_stream_cut", "Streams that the server ended, by why.", ["reason"])

T = TypeVar("T")


class TooSlow(Problem):
    """You read too slowly and were cut off; resume from the last event you saw."""

    code = grpc.StatusCode.ABORTED
    http_status = 409
    reason = Reason.REASON_SUBSCRIBER_TOO_SLOW


class LiveEvent:
    """An event on its way to many, with the forms it has been brought into for them."""

    __slots__ = ("_forms", "event", "position")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.position = event.position
        self._forms: dict[Callable[[Event], object], object] = {}

    def form(self, make: Callable[[Event], T]) -> T:
        """What `make` makes of the event: made for the first who asks, and the same object for everyone after."""
        if make not in self._forms:
            self._forms[make] = make(self.event)
        return cast("T", self._forms[make])


def take_message(waiting: deque[LiveEvent]) -> list[LiveEvent]:
    """Take as many events from the front as fit into a message, at least one."""
    taken = [waiting.popleft()]
    room = MESSAGE_BYTES - len(taken[0].event.payload)
    while waiting and (room := room - len(waiting[0].event.payload)) >= 0:
        taken.append(waiting.popleft())
    return taken


class Subscription:
    """One subscriber: what waits for it, and how it ends."""

    __slots__ = ("_after", "_ending", "_silent", "_size", "_waiter", "_waiting", "call", "prefix", "slot", "start")

    def __init__(self, call: Call, prefix: str, start: Position, after: Position | None, size: int) -> None:
        """It is given what comes after `start`, and wants what comes after `after`; `size` events may wait for it."""
        self.call = call
        self.prefix = prefix
        self.start = start
        self.slot = 0
        # Only who followed a process that was ahead of this one has seen what is still to come.
        self._after = after if after is not None and after > start else None
        self._size = size
        self._waiting: deque[LiveEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ending: Problem | None = None
        self._silent = False

    @property
    def is_behind(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def offer(self, event: LiveEvent) -> bool:
        """Hand an event over. False when it has ended, and when it ends because too many wait already."""
        if self._ending is not None:
            return False
        if self._after is not None:
            if event.position <= self._after:
                return True
            self._after = None
        if len(self._waiting) >= self._size:
            self.end(TooSlow())
            return False
        self._waiting.append(event)
        self._wake()
        return True

    def nudge(self) -> None:
        """Time for a sign of life, if there is nothing else to send."""
        self._silent = True
        self._wake()

    def end(self, problem: Problem) -> None:
        """End with a problem, and give up what waits: what was handed out stays a prefix of the log."""
        if self._ending is None:
            self._ending = problem
            self._waiting.clear()
            CUT.labels(problem.reason_name).inc()
            self._wake()

    async def next(self) -> list[LiveEvent]:
        """What has come, as much as fits into a message; nothing when it is time for a sign of life.

        Raises the problem that the subscription ends with.
        """
        while True:
            if self._ending is not None:
                raise self._ending
            if self._waiting:
                self._silent = False
                return take_message(self._waiting)
            if self._silent:
                self._silent = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Subscriptions:
    """All subscriptions of a process."""

    def __init__(self, places: StreamPlaces) -> None:
        self._places = places
        self._groups: dict[str, dict[str, set[Subscription]]] = {}
        self._slots: tuple[set[Subscription], ...] = tuple(set() for _ in range(SLOTS))
        self._numbers = count()

    def __contains__(self, subscription: Subscription) -> bool:
        return subscription in self._slots[subscription.slot]

    def __iter__(self) -> Iterator[Subscription]:
        for slot in self._slots:
            yield from slot

    def add(self, subscription: Subscription) -> None:
        """Give it what comes from now on. Raises NoPlace when too many are open."""
        call = subscription.call
        self._places.take(call)
        groups = self._groups.setdefault(str(call.tenant_id), {})
        groups.setdefault(subscription.prefix, set()).add(subscription)
        subscription.slot = next(self._numbers) % SLOTS
        self._slots[subscription.slot].add(subscription)
        OPEN.labels(method_label(call.method)).inc()

    def remove(self, subscription: Subscription) -> None:
        """Give it nothing any more. Harmless when it is gone already."""
        if subscription not in self:
            return
        self._slots[subscription.slot].remove(subscription)
        call = subscription.call
        self._places.give_back(call)
        groups = self._groups[str(call.tenant_id)]
        groups[subscription.prefix].remove(subscription)
        if not groups[subscription.prefix]:
            del groups[subscription.prefix]
        if not groups:
            del self._groups[str(call.tenant_id)]
        OPEN.labels(method_label(call.method)).dec()

    def give(self, event: LiveEvent) -> None:
        """Hand an event to everyone whom it concerns; who has too much waiting is ended."""
        for prefix, group in self._groups.get(event.event.tenant_id, {}).items():
            if event.event.type.startswith(prefix):
                # They remove themselves later, when they notice: the group stays as it is meanwhile.
                EVENTS.inc(sum(subscription.offer(event) for subscription in group))

    def slot(self, number: int) -> list[Subscription]:
        """Those in a slot."""
        return list(self._slots[number])

    def end(self, make: Callable[[], Problem]) -> None:
        """End all of them, each with a problem of its own: one that is raised keeps what it was raised through."""
        for subscription in self:
            subscription.end(make())

    def behind(self) -> float:
        """Which part of them has something waiting, 0 to 1."""
        total = sum(map(len, self._slots))
        return sum(subscription.is_behind for subscription in self) / total if total else 0.0
