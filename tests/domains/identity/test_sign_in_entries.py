"""What signing in leaves in the audit log: the session that it began, and failures where the user belongs."""

from functools import partial
from typing import Any

import jwt
import pytest

from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    database,
    log_in,
    new_address,
    new_member,
    new_tenant,
    reason,
    rows,
    sign_up,
    switch_tenant,
    unique,
)
from tests.limits.people import Visitor
from tests.stack import Stack, wait_for

FAILED = "method = 'plinth.identity.v1.AuthService/LogIn' AND outcome = 'UNAUTHENTICATED'"


def session_of(session: Session) -> str:
    """The id in an access token."""
    return str(jwt.decode(session.access_token, options={"verify_signature": False})["sid"])


def listed(tenant: Tenant, condition: str) -> list[dict[str, Any]]:
    """Entries as the owner of a tenant sees them, the newest first."""
    answer = tenant.rest.get(f"{tenant.path}/audit", {"pageSize": 100, "filter": condition})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["auditEntries"]
    return found


def fail(stack: Stack, account: Account, times: int = 1, **facts: str) -> None:
    """Sign in with a wrong password."""
    for _ in range(times):
        response = Rest(stack).post("auth/login", {"email": account.email, "password": "wrong", **facts})
        assert reason(response) == (401, "CREDENTIALS_INVALID")


def failures(tenant: Tenant) -> list[dict[str, Any]]:
    """The failed sign-ins that the owner of a tenant sees."""
    return listed(tenant, FAILED)


def test_entries_name_the_session_that_was_begun(stack: Stack) -> None:
    first = new_tenant(stack)
    second = new_tenant(stack, first.owner)
    session = log_in(stack, first.owner, first.subdomain)
    refreshed = Session.of(Rest(stack).post("auth/refresh", {"refreshToken": session.refresh_token}))
    switch_tenant(stack, refreshed, second.id)
    session_id = session_of(session)
    told = {
        entry["action"]: (entry["sessionId"], entry["actorId"], entry["actorKind"])
        for tenant in (first, second)
        for entry in listed(tenant, f"actor_id = '{first.owner.id}'")
        if entry["sessionId"] == session_id
    }
    whose = (session_id, first.owner.id, "ACTOR_KIND_USER")
    assert told == dict.fromkeys(("session.started", "session.refreshed", "session.switched"), whose)


@pytest.mark.parametrize("is_member", [True, False])
def test_a_reused_refresh_token_is_told_where_the_session_was(stack: Stack, *, is_member: bool) -> None:
    tenant = new_tenant(stack)
    account, first = new_member(tenant, "editor")
    second = Session.of(Rest(stack).post("auth/refresh", {"refreshToken": first.refresh_token}))
    Rest(stack).post("auth/refresh", {"refreshToken": second.refresh_token})
    if not is_member:
        with database(stack) as connection:
            connection.execute("DELETE FROM memberships WHERE user_id = %s", (account.id,))
    response = Rest(stack).post("auth/refresh", {"refreshToken": first.refresh_token})
    assert reason(response) == (401, "REFRESH_TOKEN_REUSED")
    entries = listed(tenant, "action = 'session.refresh_token_reused'")
    told = [(entry["sessionId"], entry["actorId"], entry["outcome"], entry["reason"]) for entry in entries]
    assert told == ([(session_of(first), account.id, "UNAUTHENTICATED", "REFRESH_TOKEN_REUSED")] if is_member else [])
    events = rows(
        stack,
        "SELECT tenant_id::text FROM events WHERE type = 'session.refresh_token_reused' AND resource_id = %s",
        account.id,
    )
    assert [event["tenant_id"] == tenant.id for event in events] == [is_member]


def test_failed_sign_ins_are_seen_by_the_owners_of_every_tenant_of_the_user(stack: Stack) -> None:
    first, second, foreign = new_tenant(stack), new_tenant(stack), new_tenant(stack)
    account, _ = new_member(first, "viewer")
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, '{editor}')", (second.id, account.id)
        )
    fail(stack, account)
    for tenant in (first, second):
        wait_for(partial(failures, tenant), what="the entry")
        (entry,) = failures(tenant)
        assert (entry["resourceType"], entry["resourceId"]) == ("plinth.dev/User", account.id)
        assert (entry["action"], entry["reason"], entry["security"]) == ("session.started", "CREDENTIALS_INVALID", True)
        assert (entry["actorId"], entry["sessionId"], entry["count"]) == ("", "", 1)
        assert entry["ip"]
    assert failures(foreign) == []


def test_a_password_that_is_right_for_another_tenant_is_a_failed_sign_in(stack: Stack) -> None:
    tenant = new_tenant(stack)
    account, _ = new_member(tenant, "viewer")
    body = {"email": account.email, "password": account.password, "tenant": unique("none")}
    assert reason(Rest(stack).post("auth/login", body)) == (401, "CREDENTIALS_INVALID")
    wait_for(lambda: failures(tenant), what="the entry")


def test_a_flood_of_failures_is_counted_in_few_entries(stack: Stack) -> None:
    tenant = new_tenant(stack)
    account, _ = new_member(tenant, "viewer")
    fail(stack, account)
    wait_for(lambda: failures(tenant), what="the first one's entry, which does not wait for others")
    fail(stack, account, times=12)
    # What is refused is otherwise written within a fifth of a second: the entries that belong to no tenant are there.
    wait_for(lambda: platform_count(stack, account) >= 13, what="the platform's entries")
    # Each api process writes its first one.
    assert len(failures(tenant)) <= stack.settings.api_workers


def platform_count(stack: Stack, account: Account) -> int:
    """How many failed sign-ins the entries without a tenant tell of that came since this account was made."""
    (row,) = rows(
        stack,
        "SELECT coalesce(sum(count), 0) AS count FROM audit_entries"
        " WHERE tenant_id = '00000000-0000-0000-0000-000000000000' AND method LIKE '%%/LogIn'"
        " AND create_time >= (SELECT create_time FROM users WHERE id = %s)",
        account.id,
    )
    return int(row["count"])


def test_an_address_that_nobody_has_leaves_nothing_in_a_tenant(stack: Stack) -> None:
    def count() -> int:
        (row,) = rows(
            stack,
            "SELECT count(*) AS count FROM audit_entries WHERE request_id = %s",
            request_id,
        )
        return int(row["count"])

    request_id = unique("request")
    body = {"email": new_address(), "password": "wrong"}
    # From an address of its own: refusals of one address that are alike are counted in the first one's entry, and other
    # tests are refused from the usual one.
    assert Visitor(stack).post("auth/login", body, headers={"x-request-id": request_id}).status_code == 401
    wait_for(count, what="the platform's entry")
    assert count() == 1


def test_somebody_without_a_tenant_leaves_nothing_in_one(stack: Stack) -> None:
    account = sign_up(stack)
    fail(stack, account)
    wait_for(lambda: platform_count(stack, account), what="the platform's entry")
    found = rows(stack, "SELECT FROM audit_entries WHERE resource_id = %s AND outcome <> 'OK'", account.id)
    assert found == []
