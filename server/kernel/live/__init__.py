"""Live events: the reader of the event log, subscriptions, streams, runs."""

from server.kernel.live.reader import PERSON_ERASED, LiveEvents
from server.kernel.live.runs import Run, as_message, run_events, run_frames
from server.kernel.live.sse import Beside, events_of, own_server_sent, server_sent
from server.kernel.live.visibility import EVERY, matches

__all__ = [
    "EVERY",
    "PERSON_ERASED",
    "Beside",
    "LiveEvents",
    "Run",
    "as_message",
    "events_of",
    "matches",
    "own_server_sent",
    "run_events",
    "run_frames",
    "server_sent",
]
