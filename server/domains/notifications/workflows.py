"""Workflows: the kinds of what people are told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workflow:
    """A kind of what people are told."""

    key: str
    category: str
    """What it is about. People choose by it too."""
    is_locked: bool = False
    """Whether nobody can turn it off."""
    is_on: bool = True
    """Whether people are told who have chosen nothing."""
    tells_actor: bool = False
    """Whether people are told of what they have done themselves."""


MESSAGE = "message"
WORKFLOWS = {
    workflow.key: workflow
    for workflow in (
        # Who sends something names the recipients: also themselves.
        Workflow(MESSAGE, "messages", tells_actor=True),
        Workflow("announcement", "announcements", tells_actor=True),
        Workflow("alert", "alerts", tells_actor=True),
        # Of events (event_workflows.py).
        Workflow("operation-ended", "operations", tells_actor=True),
        Workflow("webhook-trouble", "operations"),
        Workflow("page-trouble", "sites"),
        Workflow("invitation-accepted", "people"),
        Workflow("account-security", "security", is_locked=True, tells_actor=True),
        Workflow("subscription-ended", "billing"),
    )
}
SENDABLE = (MESSAGE, "announcement", "alert")
"""Those of what people and programs send."""
CATEGORIES = frozenset(workflow.category for workflow in WORKFLOWS.values())
