"""What people are told of events of other domains: as data, one entry for each type of event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from google.protobuf.message import Message
from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage
from plinth.stories.v1.story_report_pb2 import StoryReport

from server.kernel.rich_text import text_of

if TYPE_CHECKING:
    from plinth.operations.v1.operation_pb2 import Operation
    from plinth.stories.v1.moderation_decision_pb2 import ModerationDecision
    from plinth.stories.v1.story_comment_pb2 import StoryComment, StoryCommentReply
    from plinth.stories.v1.story_report_pb2 import StoryReportOutcome

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


def _brief(html: str) -> str:
    return " ".join(text_of(html).split())[:2000]


def _commented(payload: Message) -> NotificationMessage:
    comment = cast("StoryComment", payload)
    made = _told("Somebody commented on your story", "", "story", url="/stories/{story_id}")(payload)
    made.body, made.group_key = _brief(comment.body), f"story:{comment.story_id}"
    return made


def _answered(payload: Message) -> NotificationMessage:
    reply = cast("StoryCommentReply", payload)
    made = _told("Somebody answered your comment", "", "story", url="/stories/{story_id}")(payload)
    made.body, made.group_key = _brief(reply.body), f"comment:{reply.parent_id}"
    return made


def _decided(payload: Message) -> NotificationMessage:
    decision = cast("ModerationDecision", payload)
    made = _told("Moderators have decided about your work", "", "moderation", url="/stories/{story_id}", priority=HIGH)(
        payload
    )
    action = decision.Action.Name(decision.action).removeprefix("ACTION_").capitalize()
    made.body = " \u2014 ".join(filter(None, (decision.title, action, decision.rule, decision.reason)))[:2000]
    return made


def _report_decided(payload: Message) -> NotificationMessage:
    report = cast("StoryReportOutcome", payload)
    made = _told("Your report was decided", "", "report", url="/stories/{story_id}")(payload)
    outcome = "It was removed." if report.state == StoryReport.STATE_AGREED else "It stays."
    made.body = " \u2014 ".join(filter(None, (report.title, outcome)))
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
    "story_comment.created": EventWorkflow(
        workflow="story-comment",
        message=_commented,
        user_field="story_author_id",
    ),
    "story_comment.answered": EventWorkflow(
        workflow="story-comment",
        message=_answered,
        user_field="parent_author_id",
    ),
    "moderation.decided": EventWorkflow(
        workflow="moderation-decision",
        message=_decided,
        user_field="author_id",
    ),
    "story_report.decided": EventWorkflow(
        workflow="report-decision",
        message=_report_decided,
        user_field="user_id",
    ),
}
