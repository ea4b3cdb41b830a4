"""What people are going to be told."""

from datetime import UTC, timedelta
from typing import ClassVar

from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty
from plinth.notifications.v1 import notification_schedule_pb2
from plinth.notifications.v1.notification_schedule_pb2 import NotificationSchedule
from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage

from server.data.statements import Row
from server.domains.notifications.tables import notification_schedules
from server.domains.notifications.telling import check_workflows
from server.domains.notifications.texts import make_texts
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import StateForbids, Violation, broken_rules
from server.kernel.queries import OrderTerm
from server.kernel.resources import EventFacts, Resource, Service

MOST = 1_000
MESSAGE = "notification_schedule.message"
PAST, AHEAD = timedelta(minutes=1), timedelta(days=731)
"""How long ago a time may be, for clocks that differ; and how far ahead."""


class NotificationScheduleService(Service[NotificationSchedule]):
    """Schedules."""

    descriptor = notification_schedule_pb2.DESCRIPTOR.services_by_name["NotificationScheduleService"]
    events: ClassVar = {
        "notification_schedule.sent": EventFacts(NotificationSchedule, "What was scheduled is sent."),
    }
    resource = Resource(
        NotificationSchedule,
        notification_schedules,
        filterable=("id", "state", "send_time", "create_time", "update_time"),
        sortable=("send_time", "create_time"),
        default_order=(OrderTerm("send_time", descending=True),),
        hidden=("texts",),
        most=MOST,
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def prepare(self, call: Call, resource: NotificationSchedule, before: NotificationSchedule | None) -> None:
        """A new one waits."""
        if before is None:
            resource.state = NotificationSchedule.STATE_WAITING
            resource.actor_id = call.actor_id or ""

    def check(self, call: Call, resource: NotificationSchedule, before: NotificationSchedule | None) -> None:
        """Refuse an unknown workflow, and a time that is over or far away."""
        del call, before
        check_workflows({MESSAGE: resource.message})
        until = resource.send_time.ToDatetime(UTC) - self._clock()
        if not -PAST <= until <= AHEAD:
            fault = "is over" if until < -PAST else "is more than two years ahead"
            raise broken_rules([Violation("notification_schedule.send_time", fault, "schedule.time")])

    def before_write(self, call: Call, values: Row, before: NotificationSchedule | None) -> None:
        """Keep what a template makes of values: later changes of it do not reach what waits."""
        del before
        message = NotificationMessage()
        message.CopyFrom(call.request.notification_schedule.message)
        texts = make_texts(call.writes, call.tenant_id, {MESSAGE: message})[MESSAGE]
        values["texts"] = None
        if message.HasField("template"):
            # The values stand in the texts, and nowhere else.
            values["texts"], values["message"] = texts.stored(), json_format.MessageToDict(message)

    def delete_notification_schedule(
        self, call: Call, request: notification_schedule_pb2.DeleteNotificationScheduleRequest
    ) -> Empty:
        """Only what still waits."""
        before = self.rows.lock(call, request.notification_schedule_id, etag=request.etag)
        if before.state != NotificationSchedule.STATE_WAITING:
            metadata = {"resource_type": self.rows.type, "resource": before.id, "state": "SENT"}
            raise StateForbids("It was sent already.", metadata=metadata)
        call.event_payload = self.rows.delete(call, before)
        return Empty()
