"""One stream for the events of all resources."""

from collections.abc import AsyncIterator

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.realtime.v1 import realtime_pb2
from plinth.realtime.v1.realtime_pb2 import Ticket

from server.kernel.call import Call
from server.kernel.guard import AccessTokens
from server.kernel.live import EVERY, LiveEvents, as_message, events_of, server_sent
from server.kernel.problems import Denied, Reason, Violation, broken_rules
from server.kernel.resources import Service


class RealtimeService(Service):
    """The events of a tenant that the caller may see."""

    descriptor = realtime_pb2.DESCRIPTOR.services_by_name["RealtimeService"]

    def __init__(self, live: LiveEvents | None, tokens: AccessTokens) -> None:
        """`live` is set only in the realtime role, which serves the streams."""
        super().__init__()
        self._live = live
        self._tokens = tokens

    def stream_events(self, call: Call, request: realtime_pb2.StreamEventsRequest) -> AsyncIterator[HttpBody]:
        """The events as server-sent events."""
        return server_sent(self._live, call, self._patterns(request.types), request.last_event_id)

    def watch_events(self, call: Call, request: realtime_pb2.WatchEventsRequest) -> AsyncIterator[Message]:
        """The events as messages."""
        return events_of(self._live, call, self._patterns(request.types), request.last_event_id, as_message)

    def create_ticket(self, call: Call, request: realtime_pb2.CreateTicketRequest) -> Ticket:
        """A ticket for one stream."""
        del request
        if not call.caller.user_id:
            raise Denied("A ticket is for a browser: send the API key itself.", reason=Reason.REASON_USER_REQUIRED)
        ticket, expires_at = self._tokens.issue_ticket(call.caller)
        answer = Ticket(ticket=ticket)
        answer.expire_time.FromSeconds(int(expires_at))
        return answer

    def _patterns(self, types: str) -> tuple[str, ...]:
        """The patterns in a text. Raises RuleViolated for one that matches no type."""
        patterns = tuple(part.strip() for part in types.split(",") if part.strip()) or (EVERY,)
        unknown = self._live.visibility.unknown(patterns) if self._live is not None else []
        if unknown:
            raise broken_rules([Violation("types", f"has no event type `{unknown[0]}`", "event_type.unknown")])
        return patterns
