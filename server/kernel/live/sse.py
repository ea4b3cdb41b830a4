"""Server-sent events, in the format of the HTML standard, made from the event log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.data.events import Event, Position
from server.kernel.call import Call
from server.kernel.live.reader import LiveEvents
from server.kernel.live.subscriptions import LiveEvent

POOL = Default()
LAST_EVENT_ID = "last-event-id"
RETRY_MILLISECONDS = 1000
EVENT_STREAM = "text/event-stream"
# Events of the stream itself. EventSource dispatches events called `open` and `error` of its own.
OPEN, ERROR = "stream.open", "stream.error"


def frame(event: str, data: str, event_id: str = "") -> bytes:
    """One event. `data` may hold line breaks; `event` and `event_id` may not."""
    lines = [f"id: {event_id}"] if event_id else []
    lines.append(f"event: {event}")
    lines.extend(f"data: {line}" for line in data.splitlines() or [""])
    return ("\n".join(lines) + "\n\n").encode()


def opening(event_id: str, retry_milliseconds: int) -> bytes:
    """The first frame: the reconnection time, and the event id to resume from if no event follows."""
    return retry(retry_milliseconds) + frame(OPEN, "{}", event_id)


def retry(milliseconds: int) -> bytes:
    """The reconnection time."""
    return f"retry: {milliseconds}\n".encode()


async def events_of(
    live: LiveEvents | None, call: Call, patterns: tuple[str, ...], last_event_id: str, make: Callable[[Event], Message]
) -> AsyncIterator[Message]:
    """The events alone, in the form that `make` gives them, for typed streams.

    Initial metadata confirms the subscription, and has the position at which it begins: who loses the connection before
    the first event resumes from there.

    A message is made once and sent to all subscribers, so `make` must be the same function for all streams.
    """
    async for item in _follow(live, call, patterns, last_event_id):
        if isinstance(item, Position):
            await call.stream_context.send_initial_metadata(((LAST_EVENT_ID, str(item)),))
            continue
        for event in item:
            yield event.form(make)


async def server_sent(
    live: LiveEvents | None, call: Call, patterns: tuple[str, ...], last_event_id: str
) -> AsyncIterator[HttpBody]:
    """The same as frames. The header Last-Event-ID takes precedence."""
    after = call.metadata.get(LAST_EVENT_ID) or last_event_id
    async for item in _follow(live, call, patterns, str(after)):
        if isinstance(item, Position):
            yield event_stream(opening(str(item), RETRY_MILLISECONDS))
        else:
            yield _joined([event.form(as_frame) for event in item])


async def own_server_sent(
    live: LiveEvents | None,
    call: Call,
    patterns: tuple[str, ...],
    last_event_id: str,
    beside: "Beside",
) -> AsyncIterator[HttpBody]:
    """The same for the events of the caller alone.

    A message of the stream itself comes at its beginning, and behind the events of each change.
    """
    after = call.metadata.get(LAST_EVENT_ID) or last_event_id
    async for item in _follow(live, call, patterns, str(after), own=True):
        if isinstance(item, Position):
            opened = opening(str(item), RETRY_MILLISECONDS)
            yield event_stream(opened + beside.frame(await asyncio.to_thread(beside.read)))
        elif item:
            told = _joined([event.form(as_frame) for event in item]).data
            yield event_stream(told + beside.frame(await asyncio.to_thread(beside.read)))
        else:
            yield KEEP_ALIVE


class Beside(NamedTuple):
    """A message of a stream itself, such as counts of what its events are about."""

    event: str
    """The name of its event."""
    read: Callable[[], Message]
    """Reads it as it is now. Blocks."""

    def frame(self, message: Message) -> bytes:
        """The message as a frame, without an id: it is no event of the log."""
        return frame(self.event, as_json(message))


def _follow(
    live: LiveEvents | None, call: Call, patterns: tuple[str, ...], last_event_id: str, *, own: bool = False
) -> AsyncIterator[list[LiveEvent] | Position]:
    if live is None:
        raise LookupError("streams are served by the realtime role")
    return live.follow(call, patterns, last_event_id, own=own)


def _joined(bodies: list[HttpBody]) -> HttpBody:
    """One message with all the frames; a comment instead of no frames."""
    if not bodies:
        return KEEP_ALIVE
    # A single event is sent as the object that other subscribers get too.
    return bodies[0] if len(bodies) == 1 else event_stream(b"".join(body.data for body in bodies))


def as_frame(event: Event) -> HttpBody:
    """The frame of an event. Its data is the resource, or what else its payload is, as REST shows it."""
    message = GetMessageClass(POOL.FindMessageTypeByName(event.message_type)).FromString(event.payload)
    return event_stream(frame(event.type, as_json(message), str(event.position)))


def as_json(message: Message) -> str:
    """A message as REST shows it, on one line."""
    return str(json_format.MessageToJson(message, indent=None, always_print_fields_with_no_presence=True))


def event_stream(data: bytes) -> HttpBody:
    """Frames as a piece of the answer."""
    return HttpBody(content_type=EVENT_STREAM, data=data)


KEEP_ALIVE = event_stream(b": keep-alive\n\n")
