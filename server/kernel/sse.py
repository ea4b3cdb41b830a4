"""Server-sent events, as the HTML standard writes them on the wire, made of the event log."""

from collections.abc import AsyncIterator
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.message import Message

from server.data.events import Event, Position
from server.kernel.call import Call
from server.kernel.live import LiveEvents

LAST_EVENT_ID = "last-event-id"
RETRY_MILLISECONDS = 1000
EVENT_STREAM = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"


def frame(event: str, data: str, event_id: str = "") -> bytes:
    """One event. `data` may hold line breaks; `event` and `event_id` may not."""
    lines = [f"id: {event_id}"] if event_id else []
    lines.append(f"event: {event}")
    lines.extend(f"data: {line}" for line in data.splitlines() or [""])
    return ("\n".join(lines) + "\n\n").encode()


def opening(event_id: str, retry_milliseconds: int) -> bytes:
    """The first frame: how soon to reconnect, and from where should nothing have come by then."""
    return retry(retry_milliseconds) + frame("open", "{}", event_id)


def retry(milliseconds: int) -> bytes:
    """How soon to reconnect."""
    return f"retry: {milliseconds}\n".encode()


async def events_of(live: LiveEvents | None, call: Call, prefix: str, last_event_id: str) -> AsyncIterator[Event]:
    """The events alone, for typed streams. Initial metadata tells the caller that it is subscribed."""
    context: Any = call.context
    async for item in _follow(live, call, prefix, last_event_id):
        if isinstance(item, Event):
            yield item
        elif isinstance(item, Position):
            await context.send_initial_metadata(())


async def server_sent(
    live: LiveEvents | None, call: Call, prefix: str, last_event_id: str, message_class: type[Message]
) -> AsyncIterator[HttpBody]:
    """The events as frames, whose data is the resource as REST shows it. The header Last-Event-ID wins."""
    after = call.metadata.get(LAST_EVENT_ID) or last_event_id
    async for item in _follow(live, call, prefix, str(after)):
        yield HttpBody(content_type=EVENT_STREAM, data=_frame_of(item, message_class))


def _follow(live: LiveEvents | None, call: Call, prefix: str, last_event_id: str) -> AsyncIterator[Any]:
    if live is None:
        raise LookupError("streams are served by the realtime role")
    return live.follow(call, prefix, last_event_id)


def _frame_of(item: Event | Position | None, message_class: type[Message]) -> bytes:
    if item is None:
        return KEEP_ALIVE
    if isinstance(item, Position):
        return opening(str(item), RETRY_MILLISECONDS)
    message = message_class.FromString(item.payload)
    data = json_format.MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)
    return frame(item.type, data, str(item.position))
