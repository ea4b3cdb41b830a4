"""Figures of notifications and deliveries equal a fold over what they are computed from."""

from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_member, new_tenant, problem, rows
from tests.domains.notifications.instances import sent
from tests.domains.notifications.test_email_channel import BY_MAIL, choose
from tests.domains.notifications.test_push import ended, let_it_be_due
from tests.stack import Stack

PATH = "/api/v1/notifications"
ANALYTICS = f"{PATH}/analytics"


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    tenant = new_tenant(stack)
    rows(stack, "UPDATE users SET email_verify_time = now() WHERE id = %s RETURNING id", tenant.owner.id)
    return tenant


def figures(tenant: Tenant, path: str = ANALYTICS, **query: Any) -> dict[str, float | None]:
    metrics = tenant.rest.get(path, query).json()["metrics"]
    return {metric["name"]: metric.get("value") for metric in metrics}


def members(tenant: Tenant, metric: str, path: str = ANALYTICS, **query: Any) -> list[str]:
    answer = tenant.rest.get(f"{path}/{metric}/members", query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in next(value for value in answer.json().values() if isinstance(value, list))]


def test_each_figure_counts_its_members(tenant: Tenant, stack: Stack) -> None:
    assert {name: value for name, value in figures(tenant).items() if value is not None} == {}
    account, session = new_member(tenant, "member")
    told = [sent(tenant, workflow="alert")["notificationId"] for _ in range(4)]
    told.append(sent(tenant, account.id)["notificationId"])
    tenant.rest.put(f"{PATH}/{told[0]}/read")
    tenant.rest.post(f"{PATH}/{told[1]}/delivered", {})
    Rest(stack, session.access_token).post(f"{PATH}/seen", {})
    assert figures(tenant) == {
        "total": 5,
        "confirmed": 1,
        "seen": 2,
        "read": 1,
        "seen_rate": 0.4,
        "read_rate": 0.2,
    }
    assert sorted(members(tenant, "total")) == sorted(told)
    assert members(tenant, "read") == [told[0]]
    assert sorted(members(tenant, "seen")) == sorted([told[0], told[4]])
    assert figures(tenant, workflow="message") == {
        "total": 1,
        "confirmed": 0,
        "seen": 1,
        "read": 0,
        "seen_rate": 1,
        "read_rate": 0,
    }
    assert members(tenant, "total", workflow="message") == [told[4]]
    assert problem(tenant.rest.get(f"{ANALYTICS}/nothing/members")).code == 5


def test_deliveries_are_counted_by_what_became_of_them(tenant: Tenant) -> None:
    choose(tenant, rules=[BY_MAIL], emailDigest={"frequency": "FREQUENCY_DAILY"})
    for _ in range(3):
        sent(tenant)
    deliveries = f"{ANALYTICS}/deliveries"
    expected = dict.fromkeys(("mails", "pushes", "merged", "cancelled", "failed", "uncertain", "failure_rate"), 0)
    assert figures(tenant, deliveries) == expected | {"total": 3, "waiting": 3}
    let_it_be_due(tenant)
    ended(tenant, "SENT")
    ended(tenant, "MERGED", 2)
    assert figures(tenant, deliveries) == expected | {"total": 3, "waiting": 0, "mails": 1, "merged": 2}
    assert len(members(tenant, "merged", deliveries)) == 2


def test_only_who_may_sees_figures_and_members(tenant: Tenant, stack: Stack) -> None:
    _, session = new_member(tenant, "editor")
    editor = Rest(stack, session.access_token)
    for path in (ANALYTICS, f"{ANALYTICS}/deliveries", f"{ANALYTICS}/total/members", f"{PATH}/connections"):
        assert problem(editor.get(path)).reason == "PERMISSION_MISSING"
