"""Subscriptions to live events: the queue of each subscriber, and the selection of its events.

Everything here belongs to one event loop. Subscribers of one tenant who see the same types form a group. An event is
matched once per group, and costs each subscriber an append; its form for sending is made once for all.
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
from server.kernel.clock import unix_now
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.live.visibility import Seen, Visibility
from server.kernel.problems import Problem, Reason
from server.kernel.record.metrics import method_label

# Bytes of payload that one message to a subscriber may combine. A single event may be larger.
MESSAGE_BYTES = 32 * 1024
# Every subscriber is visited once per round, one slot at a time, so that the work is spread over the round.
SLOTS = 10
NOTHING = frozenset[str]()

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
    """An event on its way to many subscribers, with the forms that were made of it."""

    __slots__ = ("_forms", "event", "position")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.position = event.position
        self._forms: dict[Callable[[Event], object], object] = {}

    def form(self, make: Callable[[Event], T]) -> T:
        """The form that `make` gives the event. It is made once; later callers get the same object."""
        if make not in self._forms:
            self._forms[make] = make(self.event)
        return cast("T", self._forms[make])


def take_message(waiting: deque[LiveEvent]) -> list[LiveEvent]:
    """Take the events that fit into a message from the front, at least one."""
    taken = [waiting.popleft()]
    room = MESSAGE_BYTES - len(taken[0].event.payload)
    while waiting and (room := room - len(waiting[0].event.payload)) >= 0:
        taken.append(waiting.popleft())
    return taken


class Subscription:
    """One subscriber: its waiting events, and the problem that ends it."""

    __slots__ = (
        *("_after", "_ending", "_patterns", "_silent", "_size", "_caller_id", "_visibility", "_waiter", "_waiting"),
        *("_own", "_resource_id", "call", "last_event_at", "opened_at", "seen", "sent", "slot", "start"),
    )

    def __init__(
        self,
        call: Call,
        patterns: tuple[str, ...],
        start: Position,
        after: Position | None,
        *,
        size: int,
        visibility: Visibility,
        resource_id: str = "",
        own: bool = False,
    ) -> None:
        """It is offered events after `start` and takes those after `after`. At most `size` events wait.

        With a `resource_id`, it takes those of this resource only; with `own`, those whose audience is the caller.
        """
        self._resource_id = resource_id
        self._own = own
        self.call = call
        # Unix times, and how many events it has taken.
        self.opened_at, self.last_event_at, self.sent = unix_now(), 0.0, 0
        self._patterns = patterns
        self._visibility = visibility
        self._caller_id = call.caller.id
        self.seen = self.seen_now()
        self.start = start
        self.slot = 0
        # Only a subscriber of a process that was ahead of this one has already seen events after `start`.
        self._after = after if after is not None and after > start else None
        self._size = size
        self._waiting: deque[LiveEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ending: Problem | None = None
        self._silent = False

    @property
    def is_behind(self) -> bool:
        """Whether events are waiting."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def seen_now(self) -> Seen:
        """The wanted types that the access of the caller shows now."""
        access = self.call.access
        return self._visibility.seen(self._patterns, access.permissions if access else NOTHING)

    def wants(self, event: Event) -> bool:
        """Whether an event of the tenant is of a wanted type, and one that the subscriber may see."""
        return event.type in self.seen.types and self._is_shown(event)

    def _is_shown(self, event: Event) -> bool:
        """Whether an event of a wanted type is of the wanted resource, and shown to the subscriber."""
        if self._resource_id and event.resource_id != self._resource_id:
            return False
        if self._own:
            return event.audience == self._caller_id
        return event.audience is None or event.audience == self._caller_id or event.type in self.seen.of_others

    def offer(self, event: LiveEvent) -> bool:
        """Queue an event of a wanted type.

        False if the subscriber may not see it, or the subscription has ended, or ends now because its queue is full.
        """
        if self._ending is not None or not self._is_shown(event.event):
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
        """Make a keep-alive due, unless events are waiting."""
        self._silent = True
        self._wake()

    def end(self, problem: Problem) -> None:
        """End with a problem, and drop waiting events. What was delivered remains a prefix of the log."""
        if self._ending is None:
            self._ending = problem
            self._waiting.clear()
            CUT.labels(problem.reason_name).inc()
            self._wake()

    async def next(self) -> list[LiveEvent]:
        """The next events, as many as fit into a message; an empty list when a keep-alive is due.

        Raises the problem that ends the subscription.
        """
        while True:
            if self._ending is not None:
                raise self._ending
            if self._waiting:
                self._silent = False
                return self._taken(take_message(self._waiting))
            if self._silent:
                self._silent = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _taken(self, events: list[LiveEvent]) -> list[LiveEvent]:
        self.sent += len(events)
        self.last_event_at = unix_now()
        return events

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Subscriptions:
    """All subscriptions of a process."""

    def __init__(self, places: StreamPlaces) -> None:
        self._places = places
        self._groups: dict[str, dict[Seen, set[Subscription]]] = {}
        self._slots: tuple[set[Subscription], ...] = tuple(set() for _ in range(SLOTS))
        self._numbers = count()

    def __contains__(self, subscription: Subscription) -> bool:
        return subscription in self._slots[subscription.slot]

    def __iter__(self) -> Iterator[Subscription]:
        for slot in self._slots:
            yield from slot

    def add(self, subscription: Subscription) -> None:
        """Register a subscription, which gets events from now on. Raises NoPlace if too many are open."""
        call = subscription.call
        self._places.take(call)
        self._join(subscription)
        subscription.slot = next(self._numbers) % SLOTS
        self._slots[subscription.slot].add(subscription)
        OPEN.labels(method_label(call.method)).inc()

    def check_place(self, call: Call) -> None:
        """Raise NoPlace if the caller could not subscribe now."""
        self._places.check(call)

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription. Does nothing if it is already removed."""
        if subscription not in self:
            return
        self._slots[subscription.slot].remove(subscription)
        call = subscription.call
        self._places.give_back(call)
        self._leave(subscription)
        OPEN.labels(method_label(call.method)).dec()

    def look_again(self, subscription: Subscription) -> None:
        """Let the access that the caller has now decide which types a subscriber sees."""
        seen = subscription.seen_now()
        if subscription in self and seen != subscription.seen:
            self._leave(subscription)
            subscription.seen = seen
            self._join(subscription)

    def _join(self, subscription: Subscription) -> None:
        groups = self._groups.setdefault(str(subscription.call.tenant_id), {})
        groups.setdefault(subscription.seen, set()).add(subscription)

    def _leave(self, subscription: Subscription) -> None:
        tenant_id = str(subscription.call.tenant_id)
        groups = self._groups[tenant_id]
        groups[subscription.seen].remove(subscription)
        if not groups[subscription.seen]:
            del groups[subscription.seen]
        if not groups:
            del self._groups[tenant_id]

    def give(self, event: LiveEvent) -> None:
        """Offer an event to its subscribers. A subscriber with a full queue is ended."""
        for seen, group in self._groups.get(event.event.tenant_id, {}).items():
            if event.event.type in seen.types:
                # Ended subscribers remove themselves later, so the group does not change during the loop.
                EVENTS.inc(sum(subscription.offer(event) for subscription in group))

    def all(self) -> list[Subscription]:
        """All of them. A list is made of a set in one step, so other threads may ask."""
        return [subscription for number in range(SLOTS) for subscription in self.slot(number)]

    def slot(self, number: int) -> list[Subscription]:
        """The subscriptions in a slot."""
        return list(self._slots[number])

    def end(self, make: Callable[[], Problem]) -> None:
        """End all subscriptions. Each gets a problem of its own, because an exception keeps its traceback."""
        for subscription in self:
            subscription.end(make())

    def behind(self) -> float:
        """The share of subscribers with waiting events, 0 to 1."""
        total = sum(map(len, self._slots))
        return sum(subscription.is_behind for subscription in self) / total if total else 0.0
