"""The open streams of inboxes: each process that serves some tells of them, and one answer is made of all."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from plinth.notifications.v1 import notification_connection_pb2
from plinth.notifications.v1.notification_connection_pb2 import NotificationConnection, NotificationConnections

from server.kernel.caching import StoreAway
from server.kernel.call import Call
from server.kernel.clock import unix_now
from server.kernel.live import LiveEvents
from server.kernel.loops import Loop
from server.kernel.ports import StatisticsStore
from server.kernel.problems import Unavailable
from server.kernel.resources import Service

STREAM = "/plinth.notifications.v1.InboxService/StreamNotifications"
INTERVAL = 5.0
LATEST = 30.0
"""Seconds after which a process that has told nothing is not there."""
MOST = 500
SLOW, MANY = 5.0, 100
"""Seconds of lag, and waiting events, from which on streams are not healthy."""
OK, DEGRADED, DOWN = (
    NotificationConnections.HEALTH_OK,
    NotificationConnections.HEALTH_DEGRADED,
    NotificationConnections.HEALTH_DOWN,
)


class Told(NamedTuple):
    """What a process tells of one stream."""

    tenant_id: str
    user_id: str
    open_time: float
    sent: int
    last_event_time: float
    waiting: int


class ConnectionReports:
    """Tells of the streams of this process, if it serves any, and reads what all have told."""

    def __init__(self, store: StatisticsStore, live: LiveEvents | None, process: Callable[[], str]) -> None:
        """`process` returns the unique name of this process."""
        self._store, self._live, self._process = store, live, process
        self._loop = Loop("stream reports", self._publish, INTERVAL, at_once=True)

    def start(self) -> None:
        """Start to tell, in a process that serves streams."""
        if self._live is not None:
            self._loop.start()

    def close(self) -> None:
        """Stop, and withdraw what was told."""
        if self._live is not None:
            self._loop.stop(INTERVAL)
            with contextlib.suppress(StoreAway):
                self._store.forget([self._process()])

    def read(self) -> Iterator[tuple[str, float | None, list[Told]]]:
        """What each process has told lately: its name, its lag and its streams. Raises StoreAway."""
        for name, text in self._store.read().items():
            report = json.loads(text)
            if report["time"] >= unix_now() - LATEST:
                yield name, report["lag"], [Told(*each) for each in report["streams"]]
            elif name != self._process():
                # One that is still alive tells again.
                self._store.forget([name])

    def _publish(self) -> None:
        if self._live is None:
            return
        streams = [
            Told(
                *(str(each.call.tenant_id), each.call.caller.user_id or "", each.opened_at),
                *(each.sent, each.last_event_at, each.waiting),
            )
            for each in self._live.subscribers(STREAM)
        ]
        report = {"time": unix_now(), "lag": self._live.lag_p95(), "streams": streams}
        with contextlib.suppress(StoreAway):
            self._store.publish(self._process(), json.dumps(report))


class NotificationConnectionService(Service):
    """Connections."""

    descriptor = notification_connection_pb2.DESCRIPTOR.services_by_name["NotificationConnectionService"]

    def __init__(self, reports: ConnectionReports) -> None:
        super().__init__()
        self.parts = (reports,)
        self._reports = reports

    def get_notification_connections(
        self, call: Call, request: notification_connection_pb2.GetNotificationConnectionsRequest
    ) -> NotificationConnections:
        """Those of the caller's tenant."""
        del request
        try:
            told = list(self._reports.read())
        except StoreAway as error:
            raise Unavailable("redis") from error
        own = [(name, each) for name, _, streams in told for each in streams if each.tenant_id == call.tenant_id]
        own.sort(key=lambda found: found[1].open_time)
        lags = [lag for _, lag, _ in told if lag is not None]
        answer = NotificationConnections(
            health=health_of([each for _, each in own], lags) if told else DOWN,
            open_count=len(own),
            user_count=len({each.user_id for _, each in own}),
            connections=[_shown(name, each) for name, each in own[:MOST]],
        )
        if lags:
            answer.lag_p95.FromTimedelta(timedelta(seconds=max(0.0, *lags)))
        return answer


def health_of(own: Sequence[Told], lags: Sequence[float]) -> "NotificationConnections.Health":
    """The health of a tenant's streams, with the lags of the processes in seconds."""
    is_late = max(lags, default=0.0) > SLOW or any(each.waiting >= MANY for each in own)
    return DEGRADED if is_late else OK


def _shown(process: str, told: Told) -> NotificationConnection:
    shown = NotificationConnection(
        user_id=told.user_id, process=process, sent_count=told.sent, waiting_count=told.waiting
    )
    shown.open_time.FromMicroseconds(int(told.open_time * 1_000_000))
    if told.last_event_time:
        shown.last_event_time.FromMicroseconds(int(told.last_event_time * 1_000_000))
    return shown
