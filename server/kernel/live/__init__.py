"""Live events: the reader of the event log, subscriptions, streams, downloads."""

from server.kernel.live.downloads import Download, Downloads
from server.kernel.live.reader import PERSON_ERASED, LiveEvents
from server.kernel.live.sse import events_of, server_sent
from server.kernel.live.visibility import EVERY, matches

__all__ = ["EVERY", "PERSON_ERASED", "Download", "Downloads", "LiveEvents", "events_of", "matches", "server_sent"]
