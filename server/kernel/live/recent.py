"""The last events of the log, kept in memory, so that a short interruption is resumed without the database."""

from collections import deque

from server.data.events import Position
from server.kernel.live.subscriptions import LiveEvent


class RecentEvents:
    """The end of the log for all tenants, without a gap, except for what was forgotten."""

    def __init__(self, since: Position, *, most: int, most_bytes: int) -> None:
        """Starts empty, after the position `since`. `most_bytes` counts payload."""
        self._since = since
        self._most = most
        self._room = most_bytes
        self._events: deque[LiveEvent] = deque()
        self._by_tenant: dict[str, deque[LiveEvent]] = {}
        # By tenant: the last of the events that were forgotten.
        self._forgotten: dict[str, Position] = {}
        self._positions = {since}

    def __contains__(self, position: Position) -> bool:
        """Whether a position is that of a kept event, or of the last dropped one."""
        return position in self._positions

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: LiveEvent) -> None:
        """Add the next event of the log, and drop the oldest ones beyond the bounds."""
        self._events.append(event)
        self._positions.add(event.position)
        self._by_tenant.setdefault(event.event.tenant_id, deque()).append(event)
        self._room -= len(event.event.payload)
        while len(self._events) > self._most or self._room < 0:
            self._drop()

    def after(self, tenant_id: str, position: Position) -> list[LiveEvent] | None:
        """The events of a tenant after a position, or None if some of them have been dropped or forgotten."""
        if position < self._since or position < self._forgotten.get(tenant_id, self._since):
            return None
        found: list[LiveEvent] = []
        for event in reversed(self._by_tenant.get(tenant_id, ())):
            if event.position <= position:
                break
            found.append(event)
        found.reverse()
        return found

    def forget(self, tenant_id: str) -> None:
        """Forget the events of a tenant, which the log no longer has as they were.

        It is rare, so what is kept is gone through once.
        """
        own = self._by_tenant.pop(tenant_id, None)
        if own is None:
            return
        self._forgotten = {tenant: last for tenant, last in self._forgotten.items() if last > self._since}
        self._forgotten[tenant_id] = own[-1].position
        self._room += sum(len(event.event.payload) for event in own)
        self._positions.difference_update(event.position for event in own)
        self._events = deque(event for event in self._events if event.event.tenant_id != tenant_id)

    def _drop(self) -> None:
        oldest = self._events.popleft()
        self._positions.discard(self._since)
        self._since = oldest.position
        self._room += len(oldest.event.payload)
        own = self._by_tenant[oldest.event.tenant_id]
        own.popleft()
        if not own:
            del self._by_tenant[oldest.event.tenant_id]
