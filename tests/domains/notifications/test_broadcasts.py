"""Broadcasts: everybody in a tenant, or everybody with a role, is told once."""

from typing import Any

import pytest

from server.kernel.ids import new_id
from tests.clients import Tenant, new_member, new_tenant, problem, rows
from tests.domains.notifications.instances import sent
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications"
MEMBERS = """
WITH made AS (
    INSERT INTO users (id, email, password_hash)
    SELECT id, id::text || '@broadcast.example', '' FROM unnest(%s::uuid[]) AS id RETURNING id
)
INSERT INTO memberships (tenant_id, user_id, roles) SELECT %s, id, ARRAY['member'] FROM made RETURNING user_id
"""


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def broadcast(tenant: Tenant, **body: Any) -> dict[str, Any]:
    """The operation, once it has ended."""
    answer = tenant.rest.post(f"{PATH}/broadcast", body)
    assert answer.status_code == 202, answer.text
    path = f"/api/v1/long-operations/{answer.json()['id']}"
    wait_for(lambda: tenant.rest.get(path).json()["state"] == "STATE_DONE", what="the broadcast")
    ended: dict[str, Any] = tenant.rest.get(path).json()
    return ended


def told(tenant: Tenant) -> dict[str, int]:
    """How often each person was told. That the operation has ended is told to who has started it."""
    query = (
        "SELECT user_id::text AS id, count(*)::int AS count FROM notifications WHERE tenant_id = %s AND workflow <> %s"
    )
    return {row["id"]: row["count"] for row in rows(tenant.stack, f"{query} GROUP BY 1", tenant.id, "operation-ended")}


def test_everybody_is_told_once(tenant: Tenant) -> None:
    members = [new_member(tenant, role)[0].id for role in ("member", "editor", "editor")]
    ended = broadcast(tenant, message={"title": "We are open", "workflow": "announcement"})
    assert (ended["kind"], ended["result"]) == ("notification_broadcast", {"recipients": 4, "told": 4})
    assert (ended["done"], ended["total"]) == (4, 4)
    assert told(tenant) == dict.fromkeys([tenant.owner.id, *members], 1)
    [shown] = tenant.rest.get(PATH, {"filter": "workflow = announcement"}).json()["notifications"]
    assert (shown["title"], shown["actorId"]) == ("We are open", tenant.owner.id)


def test_those_with_a_role_are_told_who_want_it(tenant: Tenant) -> None:
    wanted, unwanted = (new_member(tenant, "editor")[0].id for _ in range(2))
    new_member(tenant, "member")
    off = "INSERT INTO notification_preferences (tenant_id, id, user_id, rules) VALUES (%s, %s, %s, %s) RETURNING id"
    rows(tenant.stack, off, tenant.id, unwanted, unwanted, '[{"scope": "SCOPE_ALL"}]')
    ended = broadcast(tenant, message={"title": "To editors"}, roles=["editor"])
    assert ended["result"] == {"recipients": 2, "told": 1}
    assert told(tenant) == {wanted: 1}


def test_what_cannot_be_sent_is_refused_at_once(tenant: Tenant) -> None:
    for message, rule in (
        ({"title": "x", "workflow": "nothing"}, "notification.workflow"),
        ({"title": "x", "dedupeKey": "mine"}, "notification.dedupe_key"),
        ({"template": {"key": "nothing"}}, "template.known"),
    ):
        assert problem(tenant.rest.post(f"{PATH}/broadcast", {"message": message})).rules == (rule,)


def test_another_send_does_not_wait_for_a_broadcast(tenant: Tenant) -> None:
    rows(tenant.stack, MEMBERS, [new_id() for _ in range(1_500)], tenant.id)
    answer = tenant.rest.post(f"{PATH}/broadcast", {"message": {"title": "Many"}})
    path = f"/api/v1/long-operations/{answer.json()['id']}"
    assert sent(tenant, title="Now")["isTold"]
    wait_for(lambda: tenant.rest.get(path).json()["state"] == "STATE_DONE", what="the broadcast")
    assert tenant.rest.get(path).json()["result"] == {"recipients": 1_501, "told": 1_501}
    assert set(told(tenant).values()) == {1, 2}
