"""Which rule decides, against a table made by brute force; and what people see of it."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from plinth.notifications.v1.notification_preferences_pb2 import NotificationRule

from server.domains.notifications.choices import ANYWHERE, choice_of
from server.domains.notifications.workflows import IN_APP, WORKFLOWS, Workflow
from tests.clients import Tenant, new_tenant, problem
from tests.stack import Stack

NOW = datetime(2026, 11, 29, tzinfo=UTC)
WORKFLOW = Workflow("announcement", "announcements")
# From the most specific one, as the contract says.
RANKS = (
    *((NotificationRule.SCOPE_GROUP, "order:1", channel) for channel in (IN_APP, ANYWHERE)),
    *((NotificationRule.SCOPE_WORKFLOW, "announcement", channel) for channel in (IN_APP, ANYWHERE)),
    *((NotificationRule.SCOPE_CATEGORY, "announcements", channel) for channel in (IN_APP, ANYWHERE)),
    *((NotificationRule.SCOPE_ALL, "", channel) for channel in (IN_APP, ANYWHERE)),
)
PATH = "/api/v1/notifications/preferences"


def test_the_most_specific_rule_decides_in_every_combination() -> None:
    tried = 0
    for chosen in product((None, True, False), repeat=len(RANKS)):
        rules = [
            NotificationRule(scope=scope, key=key, channel=channel, enabled=enabled)
            for (scope, key, channel), enabled in zip(RANKS, chosen, strict=True)
            if enabled is not None
        ]
        decided = next((enabled for enabled in chosen if enabled is not None), True)
        assert choice_of(reversed(rules), WORKFLOW, IN_APP, NOW, "order:1").is_wanted is decided
        tried += 1
    assert tried == 3 ** len(RANKS)


def test_nobody_turns_off_what_is_locked_and_a_rule_ends() -> None:
    off = NotificationRule(scope=NotificationRule.SCOPE_ALL)
    locked = Workflow("sign-in", "security", is_locked=True)
    assert choice_of([off], locked, IN_APP, NOW).decided_by == "LOCKED"
    off.until.FromDatetime(NOW)
    assert choice_of([off], WORKFLOW, IN_APP, NOW - timedelta(microseconds=1)).is_wanted is False
    assert choice_of([off], WORKFLOW, IN_APP, NOW) == (True, "DEFAULT", "")


def test_a_group_is_muted_for_itself_alone() -> None:
    muted = NotificationRule(scope=NotificationRule.SCOPE_GROUP, key="order:1")
    assert not choice_of([muted], WORKFLOW, IN_APP, NOW, "order:1").is_wanted
    assert choice_of([muted], WORKFLOW, IN_APP, NOW, "order:2").is_wanted
    assert choice_of([muted], WORKFLOW, IN_APP, NOW).is_wanted


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def test_people_see_what_follows_from_their_rules(tenant: Tenant) -> None:
    usual = tenant.rest.get(PATH).json()
    assert {each["workflow"]: (each["enabled"], each["decidedBy"]) for each in usual["effective"]} == {
        key: (True, "LOCKED" if workflow.is_locked else "DEFAULT") for key, workflow in WORKFLOWS.items()
    }
    rules = [{"scope": "SCOPE_ALL"}, {"scope": "SCOPE_WORKFLOW", "key": "alert", "enabled": True}]
    answer = tenant.rest.put(PATH, {"rules": rules, "etag": usual["etag"]})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    found = {each["workflow"]: (each["enabled"], each["decidedBy"]) for each in changed["effective"]}
    assert {key: found[key] for key in ("message", "announcement", "alert", "account-security")} == {
        "message": (False, "ALL"),
        "announcement": (False, "ALL"),
        "alert": (True, "WORKFLOW"),
        "account-security": (True, "LOCKED"),
    }
    assert tenant.rest.get(PATH).json() == changed
    assert tenant.rest.put(PATH, {"rules": [], "etag": usual["etag"]}).status_code == 412


@pytest.mark.parametrize(
    "rules",
    [
        [{"scope": "SCOPE_WORKFLOW", "key": "nonsense"}],
        [{"scope": "SCOPE_CATEGORY", "key": "nonsense"}],
        [{"scope": "SCOPE_ALL", "key": "alert"}],
        [{"key": "alert"}],
        [{"scope": "SCOPE_GROUP"}],
        [{"scope": "SCOPE_ALL"}, {"enabled": True}],
    ],
)
def test_rules_about_nothing_are_refused(tenant: Tenant, rules: list[dict[str, object]]) -> None:
    refused = tenant.rest.put(PATH, {"rules": rules})
    assert (refused.status_code, problem(refused).rules) == (422, ("notification.rule",))
