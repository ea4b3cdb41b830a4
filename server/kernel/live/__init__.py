"""Live events: the reader of the event log, subscriptions, streams, runs."""

from server.kernel.live.reader import PERSON_ERASED, LiveEvents
from server.kernel.live.runs import Run, as_message, run_events, run_frames
from server.kernel.live.sse import events_of, server_sent
from server.kernel.live.visibility import EVERY, matches

__all__ = [
    "EVERY",
    "PERSON_ERASED",
    "LiveEvents",
    "Run",
    "as_message",
    "events_of",
    "matches",
    "run_events",
    "run_frames",
    "server_sent",
]
