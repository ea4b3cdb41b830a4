"""Choices: which rule of a person decides whether they are told something."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from plinth.notifications.v1.notification_preferences_pb2 import (
    EffectivePreference,
    NotificationChannel,
    NotificationRule,
)

from server.domains.notifications.workflows import CHANNELS, WORKFLOWS, Workflow

ANYWHERE = NotificationChannel.NOTIFICATION_CHANNEL_UNSPECIFIED
LOCKED, DEFAULT = "LOCKED", "DEFAULT"
MOST_SPECIFIC_FIRST = (
    NotificationRule.SCOPE_GROUP,
    NotificationRule.SCOPE_WORKFLOW,
    NotificationRule.SCOPE_CATEGORY,
    NotificationRule.SCOPE_ALL,
)


class Choice(NamedTuple):
    """Whether somebody is told something, and what decided it."""

    is_wanted: bool
    decided_by: str
    """`LOCKED`, `GROUP`, `WORKFLOW`, `CATEGORY`, `ALL` or `DEFAULT`."""
    key: str = ""
    """That of the rule."""


def choice_of(
    rules: Iterable[NotificationRule],
    workflow: Workflow,
    channel: int,
    now: datetime,
    group_key: str = "",
) -> Choice:
    """What decides for a workflow on a channel: the rule of the most specific scope, and in it that of the channel."""
    if workflow.is_locked:
        return Choice(channel in workflow.channels, LOCKED)
    keys = {
        NotificationRule.SCOPE_GROUP: group_key,
        NotificationRule.SCOPE_WORKFLOW: workflow.key,
        NotificationRule.SCOPE_CATEGORY: workflow.category,
        NotificationRule.SCOPE_ALL: "",
    }
    alive: dict[tuple[int, str, int], bool] = {
        (scope_of(rule), rule.key, rule.channel): rule.enabled for rule in rules if holds(rule, now)
    }
    for scope in MOST_SPECIFIC_FIRST:
        if scope == NotificationRule.SCOPE_GROUP and not group_key:
            continue
        for where in (channel, ANYWHERE):
            if (scope, keys[scope], where) in alive:
                name = NotificationRule.Scope.Name(scope).removeprefix("SCOPE_")
                return Choice(alive[scope, keys[scope], where], name, keys[scope])
    return Choice(channel in workflow.channels, DEFAULT)


def scope_of(rule: NotificationRule) -> "NotificationRule.Scope":
    """Its scope; an unset one is ALL."""
    return rule.scope or NotificationRule.SCOPE_ALL


def holds(rule: NotificationRule, now: datetime) -> bool:
    """Whether it is not over."""
    return not rule.HasField("until") or rule.until.ToDatetime(UTC) > now


def effective(rules: Sequence[NotificationRule], now: datetime) -> list[EffectivePreference]:
    """What follows from rules for each workflow and channel, groups apart."""
    found = []
    for workflow in WORKFLOWS.values():
        for channel in CHANNELS:
            choice = choice_of(rules, workflow, channel, now)
            found.append(
                EffectivePreference(
                    workflow=workflow.key,
                    category=workflow.category,
                    channel=channel,
                    enabled=choice.is_wanted,
                    decided_by=choice.decided_by,
                )
            )
    return found
