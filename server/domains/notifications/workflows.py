"""Workflows: the kinds of what people are told."""

from dataclasses import dataclass

from plinth.notifications.v1.notification_preferences_pb2 import NotificationChannel

IN_APP, EMAIL, PUSH = (
    NotificationChannel.NOTIFICATION_CHANNEL_IN_APP,
    NotificationChannel.NOTIFICATION_CHANNEL_EMAIL,
    NotificationChannel.NOTIFICATION_CHANNEL_PUSH,
)
CHANNELS = (IN_APP, EMAIL, PUSH)
INBOX_AND_PUSH = frozenset((IN_APP, PUSH))
EVERYWHERE = frozenset(CHANNELS)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A kind of what people are told."""

    key: str
    category: str
    """What it is about. People choose by it too."""
    is_locked: bool = False
    """Whether nobody can turn it off, on the channels that it has."""
    channels: frozenset[int] = INBOX_AND_PUSH
    """Where people are told who have chosen nothing."""
    tells_actor: bool = False
    """Whether people are told of what they have done themselves."""


MESSAGE = "message"
WORKFLOWS = {
    workflow.key: workflow
    for workflow in (
        # Who sends something names the recipients: also themselves.
        Workflow(MESSAGE, "messages", tells_actor=True),
        Workflow("announcement", "announcements", tells_actor=True),
        Workflow("alert", "alerts", tells_actor=True, channels=EVERYWHERE),
        # Of events (event_workflows.py).
        Workflow("operation-ended", "operations", tells_actor=True),
        Workflow("webhook-trouble", "operations", channels=EVERYWHERE),
        Workflow("page-trouble", "sites"),
        Workflow("invitation-accepted", "people"),
        # Identity sends mail of its own about it.
        Workflow("account-security", "security", is_locked=True, tells_actor=True),
        Workflow("subscription-ended", "billing", channels=EVERYWHERE),
        Workflow("story-comment", "stories"),
        # Whom a decision concerns gets its reasons (Regulation (EU) 2022/2065, article 17).
        Workflow("moderation-decision", "stories", is_locked=True, channels=EVERYWHERE),
        # Reporters get the outcome of their report (the same, article 16).
        Workflow("report-decision", "stories"),
    )
}
SENDABLE = (MESSAGE, "announcement", "alert")
"""Those of what people and programs send."""
CATEGORIES = frozenset(workflow.category for workflow in WORKFLOWS.values())
