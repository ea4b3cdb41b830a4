"""What a watcher is shown, whatever order the row and the event log are read in."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from plinth.operations.v1.operation_pb2 import Operation, OperationEvent

from server.data.events import Event, Position
from server.kernel.live.subscriptions import LiveEvent
from server.kernel.messages import etag_of
from server.kernel.operations import as_frames, changes, last_change
from tests.kernel.calls import STREAM, AsyncContext, call

RUNNING, DONE = Operation.STATE_RUNNING, Operation.STATE_DONE


def at(version: int, state: Operation.State = RUNNING, operation_id: str = "o") -> Operation:
    """The operation as one of its versions."""
    return Operation(id=operation_id, state=state, done=version, etag=etag_of(operation_id, version))


def told(kind: str, operation: Operation) -> LiveEvent:
    """An event about it."""
    payload = operation.SerializeToString()
    return LiveEvent(
        Event("t", Position(1, operation.done), "e", kind, operation.id, "Operation", payload, datetime.now(UTC))
    )


class Live:
    """Live events that hand out what the test says, and note that they were left."""

    def __init__(self, *items: list[LiveEvent]) -> None:
        self.items = items
        self.is_left = False

    async def follow(self, *_: Any) -> AsyncIterator[list[LiveEvent] | Position]:
        try:
            yield Position(1, 0)
            for item in self.items:
                yield item
            await asyncio.Event().wait()
        finally:
            self.is_left = True


def shown(live: Live, now: Operation) -> list[OperationEvent | None]:
    """Everything that a watcher is shown."""

    async def collect() -> list[OperationEvent | None]:
        watched: Any = live
        return [each async for each in changes(watched, call(STREAM, AsyncContext()), lambda: now)]

    return asyncio.run(collect())


def kinds(found: list[OperationEvent | None]) -> list[tuple[str, int] | None]:
    """Types and versions; None for a keep-alive."""
    return [None if each is None else (each.type, each.operation.done) for each in found]


def test_events_older_than_what_was_read_are_left_out() -> None:
    live = Live(
        [told("operation.started", at(2)), told("operation.progressed", at(3))],
        [told("operation.progressed", at(4)), told("operation.succeeded", at(9, DONE, "other"))],
        [],
        [told("operation.progressed", at(4)), told("operation.succeeded", at(5, DONE))],
        [told("operation.progressed", at(6))],
    )
    assert kinds(shown(live, at(3))) == [
        ("operation.current", 3),
        ("operation.progressed", 4),
        None,
        ("operation.succeeded", 5),
    ]
    assert live.is_left


def test_what_has_ended_is_followed_no_further() -> None:
    live = Live([told("operation.progressed", at(4))])
    assert kinds(shown(live, at(3, DONE))) == [("operation.current", 3)]
    assert live.is_left


def test_a_stream_elsewhere_than_in_the_realtime_role_is_a_fault() -> None:
    one = changes(None, call(STREAM, AsyncContext()), lambda: at(1))

    async def first() -> object:
        return await anext(one)

    with pytest.raises(LookupError, match="realtime"):
        asyncio.run(first())


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_waiting_answers_with_the_newest_that_is_known(seconds: float) -> None:
    live: Any = Live([told("operation.progressed", at(4))], [], [told("operation.succeeded", at(5, DONE))])
    answer = asyncio.run(last_change(live, call(STREAM, AsyncContext()), lambda: at(3), seconds))
    assert answer == (at(5, DONE) if seconds else at(3))


def test_frames_name_the_event_and_keep_the_connection_open() -> None:
    live: Any = Live([], [told("operation.succeeded", at(5, DONE))])

    async def collect() -> list[bytes]:
        return [body.data async for body in as_frames(changes(live, call(STREAM, AsyncContext()), lambda: at(3)))]

    first, pause, last = asyncio.run(collect())
    assert first.startswith(b"retry: 1000\nevent: operation.current\ndata: {")
    assert pause == b": keep-alive\n\n"
    assert last.startswith(b"event: operation.succeeded\n")
    assert live.is_left
