"""Watching operations: each is shown as it is now, and then after each change, until it has ended.

What was missed needs no replay, since the newest state says it all: a caller who resumes calls again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import cast

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from plinth.operations.v1.operation_pb2 import Operation, OperationEvent

from server.data.events import Event, Position
from server.kernel.call import Call
from server.kernel.live.reader import LiveEvents
from server.kernel.live.sse import EVENT_STREAM, KEEP_ALIVE, RETRY_MILLISECONDS, frame, retry
from server.kernel.live.subscriptions import LiveEvent
from server.kernel.messages.etags import version_of
from server.kernel.operations.stored import EVENTS, has_ended

CURRENT = "operation.current"
"""The type of the first message, which no event caused."""
# Seconds that remain for the answer when a caller's deadline ends the waiting.
MARGIN = 0.5

Read = Callable[[], Operation]
"""Reads the operation as it is now, or raises NotFound. Blocks; run in a thread."""


async def changes(live: LiveEvents | None, call: Call, read: Read) -> AsyncIterator[OperationEvent | None]:
    """The operation now and after each change, each newer than the one before; None when a keep-alive is due."""
    if live is None:
        raise LookupError("streams are served by the realtime role")
    async with aclosing(cast("AsyncGenerator[list[LiveEvent] | Position]", live.follow(call, EVENTS, ""))) as items:
        # The first item is the position from which events follow. What is read after it lacks none of the others.
        await anext(items)
        shown = await asyncio.to_thread(read)
        yield OperationEvent(type=CURRENT, operation=shown)
        while not has_ended(shown):
            events = cast("list[LiveEvent]", await anext(items))
            if not events:
                yield None
            for change in _of(events, shown.id):
                if version_of(change.operation.etag) > version_of(shown.etag):
                    shown = change.operation
                    yield change


async def last_change(live: LiveEvents | None, call: Call, read: Read, seconds: float) -> Operation:
    """The operation when it has ended, or after `seconds`; sooner if the deadline of the caller is."""
    left = call.time_left
    shown: Operation | None = None
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(seconds if left is None else min(seconds, max(0.0, left - MARGIN))),
            aclosing(cast("AsyncGenerator[OperationEvent | None]", changes(live, call, read))) as items,
        ):
            async for change in items:
                if change is not None:
                    shown = change.operation
    return shown if shown is not None else await asyncio.to_thread(read)


async def as_frames(items: AsyncIterator[OperationEvent | None]) -> AsyncIterator[HttpBody]:
    """Changes as server-sent events."""
    opening = retry(RETRY_MILLISECONDS)
    async with aclosing(cast("AsyncGenerator[OperationEvent | None]", items)) as each:
        async for change in each:
            if change is None:
                yield KEEP_ALIVE
                continue
            shown = json_format.MessageToJson(change.operation, indent=None, always_print_fields_with_no_presence=True)
            yield HttpBody(content_type=EVENT_STREAM, data=opening + frame(change.type, shown))
            opening = b""


def _of(events: list[LiveEvent], operation_id: str) -> list[OperationEvent]:
    return [event.form(_as_change) for event in events if event.event.resource_id == operation_id]


def _as_change(event: Event) -> OperationEvent:
    return OperationEvent(type=event.type, operation=Operation.FromString(event.payload))
