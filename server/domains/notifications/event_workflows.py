"""What people are told of events of other domains: as data, one entry for each type of event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from google.protobuf.message import Message
from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage

if TYPE_CHECKING:
    from plinth.operations.v1.operation_pb2 import Operation

ADMINISTRATORS = ("owner", "admin")
EDITORS = (*ADMINISTRATORS, "editor")
NORMAL, HIGH, CRITICAL = Notification.PRIORITY_NORMAL, Notification.PRIORITY_HIGH, Notification.PRIORITY_CRITICAL


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWorkflow:
    """What people are told of one type of event."""

    workflow: str
    """Its key in `WORKFLOWS`."""
    message: Callable[[Message], NotificationMessage]
    """What they are told, from the payload of the event."""
    user_field: str = ""
    """The field of the payload with the id of the person."""
    roles: tuple[str, ...] = ()
    """Those who are told because of a role, up to a hundred."""


def _told(
    title: str, body: str, about: str, *, url: str = "", priority: "Notification.Priority" = NORMAL
) -> Callable[[Message], NotificationMessage]:
    """A message about the resource of the event. `{name}` in its texts is a field of the payload."""

    def make(payload: Message) -> NotificationMessage:
        fields = {field.name: getattr(payload, field.name) for field in payload.DESCRIPTOR.fields}
        return NotificationMessage(
            title=title.format(**fields)[:200],
            body=body.format(**fields)[:2000],
            url=url.format(**fields),
            priority=priority,
            group_key=f"{about}:{fields.get('id', '')}",
        )

    return make


def _operation_failed(payload: Message) -> NotificationMessage:
    made = _told("`{kind}` failed", "", "operation", priority=HIGH)(payload)
    made.body = cast("Operation", payload).error.message[:2000]
    return made


EVENT_WORKFLOWS: Mapping[str, EventWorkflow] = {
    "operation.succeeded": EventWorkflow(
        workflow="operation-ended",
        message=_told("`{kind}` is done", "", "operation"),
        user_field="owner_id",
    ),
    "operation.failed": EventWorkflow(
        workflow="operation-ended",
        message=_operation_failed,
        user_field="owner_id",
    ),
    "webhook.failing": EventWorkflow(
        workflow="webhook-trouble",
        message=_told("A webhook does not answer", "{url}", "webhook", priority=HIGH),
        roles=ADMINISTRATORS,
    ),
    "webhook.disabled": EventWorkflow(
        workflow="webhook-trouble",
        message=_told("A webhook was disabled", "{url}", "webhook", priority=CRITICAL),
        roles=ADMINISTRATORS,
    ),
    "page.schedule_failed": EventWorkflow(
        workflow="page-trouble",
        message=_told("A page could not be published as planned", "{title}", "page", priority=HIGH),
        roles=EDITORS,
    ),
    "invitation.accepted": EventWorkflow(
        workflow="invitation-accepted",
        message=_told("An invitation was accepted", "{first_name} {last_name}", "invitation"),
        user_field="invite_user_id",
    ),
    "session.refresh_token_reused": EventWorkflow(
        workflow="account-security",
        message=_told(
            "Somebody may have copied your sign-in",
            "A refresh token of yours was used twice. That session has ended: sign in again, and change your password "
            "if it was not you.",
            "account",
            priority=CRITICAL,
        ),
        user_field="id",
    ),
    "user.password_changed": EventWorkflow(
        workflow="account-security",
        message=_told("Your password was changed", "If it was not you, reset it now.", "account", priority=HIGH),
        user_field="id",
    ),
    "subscription.ended": EventWorkflow(
        workflow="subscription-ended",
        message=_told("The subscription has ended", "", "subscription", priority=HIGH),
        roles=ADMINISTRATORS,
    ),
}
