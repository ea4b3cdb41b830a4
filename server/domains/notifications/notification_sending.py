"""How people are told something, and why they were not."""

from typing import ClassVar

from google.protobuf import json_format
from plinth.notifications.v1 import notification_sending_pb2
from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_sending_pb2 import SendNotificationBatchResponse, SendNotificationResponse
from plinth.operations.v1.operation_pb2 import Operation
from plinth.types.v1.explanation_pb2 import Explanation
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.notifications.broadcasting import start_broadcast
from server.domains.notifications.tables import notification_runs
from server.domains.notifications.telling import Teller, check_workflows, letters_to
from server.domains.notifications.texts import make_texts
from server.kernel.call import Call
from server.kernel.ports import Memberships
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.resources import EventFacts, Service

TYPE = "plinth.dev/Notification"
SEND = "notifications.notifications.send"
MOST_RECIPIENTS = 1_000
MESSAGE = "message"
_id = UUID(as_uuid=False)
_r = notification_runs.c
RUN = Statement(
    select(_r.user_id, _r.explanation).where(
        _r.tenant_id == bindparam("tenant", type_=_id), _r.id == bindparam("run", type_=_id)
    )
)
"""Takes `tenant` and `run`."""


class NotificationSendingService(Service):
    """Sending."""

    descriptor = notification_sending_pb2.DESCRIPTOR.services_by_name["NotificationSendingService"]
    events: ClassVar = {"notification.created": EventFacts(Notification)}

    def __init__(self, teller: Teller, memberships: Memberships) -> None:
        super().__init__()
        self._teller, self._memberships = teller, memberships

    def send_notification(
        self, call: Call, request: notification_sending_pb2.SendNotificationRequest
    ) -> SendNotificationResponse:
        """One message to some people."""
        check_workflows({MESSAGE: request.message})
        texts = make_texts(call.writes, call.tenant_id, {MESSAGE: request.message})[MESSAGE]
        letters = letters_to(request.user_ids, request.message, texts)
        answer = SendNotificationResponse(outcomes=self._teller.send(call, letters))
        call.event_payload = answer
        return answer

    def send_notification_batch(
        self, call: Call, request: notification_sending_pb2.SendNotificationBatchRequest
    ) -> SendNotificationBatchResponse:
        """Several messages."""
        messages = {f"requests[{place}].message": each.message for place, each in enumerate(request.requests)}
        check_workflows(messages)
        recipients = sum(len(each.user_ids) for each in request.requests)
        if recipients > MOST_RECIPIENTS:
            fault = f"have {recipients:,} recipients in all, and {MOST_RECIPIENTS:,} are allowed"
            raise broken_rules([Violation("requests", fault, "notification.recipients")])
        texts = make_texts(call.writes, call.tenant_id, messages)
        groups = [
            letters_to(each.user_ids, each.message, text)
            for each, text in zip(request.requests, texts.values(), strict=True)
        ]
        outcomes = iter(self._teller.send(call, [letter for group in groups for letter in group]))
        answer = SendNotificationBatchResponse(
            responses=[SendNotificationResponse(outcomes=[next(outcomes) for _ in group]) for group in groups]
        )
        call.event_payload = answer
        return answer

    def broadcast_notification(
        self, call: Call, request: notification_sending_pb2.BroadcastNotificationRequest
    ) -> Operation:
        """One message to everybody."""
        check_workflows({MESSAGE: request.message})
        if request.message.dedupe_key:
            fault = "is that of the operation here: leave it out"
            raise broken_rules([Violation("message.dedupe_key", fault, "notification.dedupe_key")])
        texts = make_texts(call.writes, call.tenant_id, {MESSAGE: request.message})[MESSAGE]
        return start_broadcast(call, self._memberships, request.message, texts, list(request.roles))

    def explain_notification(
        self, call: Call, request: notification_sending_pb2.ExplainNotificationRequest
    ) -> Explanation:
        """What the pipeline decided."""
        row = call.reads.run(RUN, tenant=call.tenant_id, run=request.notification_id).first()
        may_send = call.access is not None and SEND in call.access.permissions
        if row is None or not (may_send or row["user_id"] == call.caller.user_id):
            raise not_found(TYPE, request.notification_id)
        return json_format.ParseDict(row["explanation"], Explanation())
