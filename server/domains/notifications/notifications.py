"""Notifications of people."""

from dataclasses import replace

from google.protobuf.empty_pb2 import Empty
from plinth.notifications.v1 import notification_pb2
from plinth.notifications.v1.notification_pb2 import ListNotificationsResponse, Notification
from sqlalchemy import func, or_

from server.data.statements import Row
from server.domains.notifications.counts import note_change
from server.domains.notifications.tables import notifications
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.queries import PageTokens
from server.kernel.resources import Lister, ReadRows, Resource, Service

_n = notifications.c
NOTIFICATION = Resource(
    Notification,
    notifications,
    filterable=("id", "unread", "workflow", "category", "priority", "group_key", "create_time", "update_time"),
    sortable=("create_time",),
    hidden=("dedupe_key",),
    owner="user_id",
    seen_by="notifications.notifications.manage",
)
_is_alive = or_(_n.expire_time.is_(None), _n.expire_time > func.now())
INBOX = replace(NOTIFICATION, where=_n.archive_time.is_(None) & _is_alive)
ARCHIVE = replace(NOTIFICATION, where=_n.archive_time.is_not(None) & _is_alive)


class NotificationService(Service[Notification]):
    """Notifications."""

    descriptor = notification_pb2.DESCRIPTOR.services_by_name["NotificationService"]
    resource = NOTIFICATION

    def __init__(self, tokens: PageTokens, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._inbox = Lister(ReadRows(self, INBOX), tokens)

    def list_notifications(
        self, call: Call, request: notification_pb2.ListNotificationsRequest
    ) -> ListNotificationsResponse:
        """Those in the inbox."""
        found, token, total = self._inbox.page(call, request)
        return ListNotificationsResponse(notifications=found, next_page_token=token, total_size=total)

    def before_write(self, call: Call, values: Row, before: Notification | None) -> None:
        """What tells repetitions stays as it is."""
        del call
        if before is None:
            values["dedupe_key"] = ""

    def after_write(self, call: Call, resource: Notification, before: Notification | None) -> None:
        """Count it."""
        if before is not None:
            note_change(call, resource, before)

    def mark_notification_read(self, call: Call, request: notification_pb2.MarkNotificationReadRequest) -> Notification:
        """It is read, and therefore seen."""
        before = self.rows.lock(call, request.notification_id)
        after = self.rows.copy_of(before)
        after.unread = False
        for name in ("read_time", "seen_time"):
            if not after.HasField(name):
                getattr(after, name).FromDatetime(self._clock())
        return self.rows.update(call, after, before)

    def mark_notification_unread(
        self, call: Call, request: notification_pb2.MarkNotificationUnreadRequest
    ) -> Notification:
        """It is to be read again."""
        before = self.rows.lock(call, request.notification_id)
        after = self.rows.copy_of(before)
        after.unread = True
        after.ClearField("read_time")
        return self.rows.update(call, after, before)

    def archive_notification(self, call: Call, request: notification_pb2.ArchiveNotificationRequest) -> Notification:
        """It is done with."""
        return self._stamped(call, request.notification_id, "archive_time")

    def unarchive_notification(
        self, call: Call, request: notification_pb2.UnarchiveNotificationRequest
    ) -> Notification:
        """It is not."""
        before = self.rows.lock(call, request.notification_id)
        after = self.rows.copy_of(before)
        after.ClearField("archive_time")
        return self.rows.update(call, after, before)

    def confirm_notification_delivery(
        self, call: Call, request: notification_pb2.ConfirmNotificationDeliveryRequest
    ) -> Notification:
        """A device has it."""
        return self._stamped(call, request.notification_id, "deliver_time")

    def delete_notification(self, call: Call, request: notification_pb2.DeleteNotificationRequest) -> Empty:
        """It goes."""
        before = self.rows.lock(call, request.notification_id, etag=request.etag)
        call.event_payload = self.rows.delete(call, before)
        note_change(call, None, before)
        return Empty()

    def _stamped(self, call: Call, notification_id: str, name: str) -> Notification:
        """Note a moment, unless it was noted before."""
        before = self.rows.lock(call, notification_id)
        after = self.rows.copy_of(before)
        if not after.HasField(name):
            getattr(after, name).FromDatetime(self._clock())
        return self.rows.update(call, after, before)
