"""The inbox of a person as a whole."""

from collections.abc import AsyncIterator
from datetime import UTC
from typing import ClassVar

from google.api.httpbody_pb2 import HttpBody
from plinth.notifications.v1 import inbox_pb2
from plinth.notifications.v1.inbox_pb2 import (
    ListArchivedNotificationsResponse,
    ListNotificationGroupsResponse,
    UnreadCount,
)

from server.data.statements import Statement
from server.domains.notifications.counts import MARK_READ, MARK_SEEN, counts_of
from server.domains.notifications.exports import export_of
from server.domains.notifications.groups import NotificationGroups
from server.domains.notifications.notifications import ARCHIVE
from server.kernel.call import Call
from server.kernel.current_access import CurrentAccess
from server.kernel.live import Beside, LiveEvents, own_server_sent
from server.kernel.queries import PageTokens
from server.kernel.resources import EventFacts, Lister, ReadRows, Service
from server.kernel.transfers import Downloads

MarkAll = inbox_pb2.MarkAllNotificationsReadRequest | inbox_pb2.MarkAllNotificationsSeenRequest
EVENTS = ("notification.*",)
COUNTS = "notification.counts"


class InboxService(Service):
    """The inbox of the caller."""

    descriptor = inbox_pb2.DESCRIPTOR.services_by_name["InboxService"]
    events: ClassVar = {
        "notification.all_read": EventFacts(UnreadCount),
        "notification.all_seen": EventFacts(UnreadCount),
    }

    def __init__(
        self,
        tokens: PageTokens,
        *,
        live: LiveEvents | None,
        access: CurrentAccess,
        downloads: Downloads,
    ) -> None:
        super().__init__()
        self._live, self._access, self._downloads = live, access, downloads
        self._rows = ReadRows(self, ARCHIVE)
        self._archive = Lister(self._rows, tokens)
        self._groups = NotificationGroups(tokens)

    def get_unread_count(self, call: Call, request: inbox_pb2.GetUnreadCountRequest) -> UnreadCount:
        """How many are new."""
        del request
        return counts_of(call.reads, call.tenant_id, self._owner(call))

    def list_archived_notifications(
        self, call: Call, request: inbox_pb2.ListArchivedNotificationsRequest
    ) -> ListArchivedNotificationsResponse:
        """Those that are archived."""
        found, token, total = self._archive.page(call, request)
        return ListArchivedNotificationsResponse(notifications=found, next_page_token=token, total_size=total)

    def list_notification_groups(
        self, call: Call, request: inbox_pb2.ListNotificationGroupsRequest
    ) -> ListNotificationGroupsResponse:
        """Those in the inbox, by what they have in common."""
        return self._groups.page(call, self._owner(call), request)

    def mark_all_notifications_read(
        self, call: Call, request: inbox_pb2.MarkAllNotificationsReadRequest
    ) -> UnreadCount:
        """All of the inbox, or of a group."""
        return self._mark_all(call, MARK_READ, request, group=request.group_key)

    def mark_all_notifications_seen(
        self, call: Call, request: inbox_pb2.MarkAllNotificationsSeenRequest
    ) -> UnreadCount:
        """The inbox was opened."""
        return self._mark_all(call, MARK_SEEN, request)

    def stream_notifications(
        self, call: Call, request: inbox_pb2.StreamNotificationsRequest
    ) -> AsyncIterator[HttpBody]:
        """What happens in the inbox, with its counts."""
        user_id = self._owner(call)

        def read() -> UnreadCount:
            return self._access.read(call, lambda transaction: counts_of(transaction, call.tenant_id, user_id))

        return own_server_sent(self._live, call, EVENTS, request.last_event_id, Beside(COUNTS, read))

    def export_notifications(
        self, call: Call, request: inbox_pb2.ExportNotificationsRequest
    ) -> AsyncIterator[HttpBody]:
        """All of them."""
        del request
        return self._downloads.send(call, export_of(str(call.tenant_id), self._owner(call)))

    def _owner(self, call: Call) -> str:
        """The person who calls. Raises Denied for an API key."""
        return self._rows.owner_of_new(call)

    def _mark_all(self, call: Call, statement: Statement, request: MarkAll, **more: str) -> UnreadCount:
        user_id = self._owner(call)
        as_of = request.as_of.ToDatetime(UTC) if request.HasField("as_of") else None
        changed = call.writes.run(statement, tenant=call.tenant_id, user=user_id, as_of=as_of, **more).value()
        call.changes_nothing = not changed
        call.audience = user_id
        call.subject_id = user_id
        return counts_of(call.writes, call.tenant_id, user_id)
