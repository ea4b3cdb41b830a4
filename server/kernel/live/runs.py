"""Runs: the events of one resource, from a position until the one that ends it.

A stream with an opening shows them, and so does the stream with which its caller resumes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.realtime.v1.realtime_pb2 import RealtimeEvent

from server.data.events import Event, Position
from server.kernel.call import Call
from server.kernel.live.reader import LiveEvents
from server.kernel.live.sse import (
    KEEP_ALIVE,
    LAST_EVENT_ID,
    OPEN,
    RETRY_MILLISECONDS,
    as_frame,
    as_json,
    event_stream,
    frame,
    retry,
)
from server.kernel.live.subscriptions import LiveEvent


@dataclass(frozen=True, slots=True)
class Run:
    """A resource whose events are shown."""

    family: str
    """The beginning of their types: `run` of `run.progressed`."""
    id: str
    ends_with: tuple[str, ...] = ()
    """The types after which nothing follows."""


def run_frames(live: LiveEvents | None, call: Call, run: Run, last_event_id: str) -> AsyncIterator[HttpBody]:
    """The events of a run as server-sent events, for who resumes. The header Last-Event-ID takes precedence."""
    return _frames(follow_run(live, call, run, last_event_id=resumed(call) or last_event_id), b"{}")


def run_events(live: LiveEvents | None, call: Call, run: Run, last_event_id: str) -> AsyncIterator[RealtimeEvent]:
    """The same as messages."""
    return _messages(follow_run(live, call, run, last_event_id=last_event_id), None)


def opened(
    items: AsyncIterator[list[LiveEvent] | Position], answer: Message, *, as_frames: bool
) -> AsyncIterator[Message]:
    """The stream of a run that was just opened: first what the opening answered, then the events."""
    if as_frames:
        return _frames(items, as_json(answer).encode())
    first = RealtimeEvent(
        type=OPEN,
        resource_id=str(getattr(answer, "id", "")),
        message_type=answer.DESCRIPTOR.full_name,
        payload=answer.SerializeToString(),
    )
    return _messages(items, first)


def resumed(call: Call) -> str:
    """The id of the last event that the caller has seen, from its header."""
    return str(call.metadata.get(LAST_EVENT_ID, ""))


async def follow_run(
    live: LiveEvents | None, call: Call, run: Run, *, last_event_id: str = "", known: Position | None = None
) -> AsyncIterator[list[LiveEvent] | Position]:
    """The events of a run as LiveEvents.follow gives them, up to the one that ends it."""
    if live is None:
        raise LookupError("streams are served by the realtime role")
    patterns = (f"{run.family}.*",)
    async for item in live.follow(call, patterns, last_event_id, known=known, resource_id=run.id):
        if isinstance(item, Position):
            yield item
            continue
        last = next((place for place, each in enumerate(item) if each.event.type in run.ends_with), None)
        yield item if last is None else item[: last + 1]
        if last is not None:
            return


async def _frames(items: AsyncIterator[list[LiveEvent] | Position], opening: bytes) -> AsyncIterator[HttpBody]:
    async for item in items:
        if isinstance(item, Position):
            yield event_stream(retry(RETRY_MILLISECONDS) + frame(OPEN, opening.decode(), str(item)))
        else:
            yield event_stream(b"".join(each.form(as_frame).data for each in item)) if item else KEEP_ALIVE


async def _messages(
    items: AsyncIterator[list[LiveEvent] | Position], first: RealtimeEvent | None
) -> AsyncIterator[RealtimeEvent]:
    async for item in items:
        if isinstance(item, list):
            for each in item:
                yield each.form(as_message)
        elif first is not None:
            first.id = str(item)
            yield first


def as_message(event: Event) -> RealtimeEvent:
    """An event as a message of typed streams."""
    message = RealtimeEvent(
        id=str(event.position),
        type=event.type,
        resource_id=event.resource_id,
        message_type=event.message_type,
        payload=event.payload,
    )
    message.create_time.FromDatetime(event.create_time)
    return message
