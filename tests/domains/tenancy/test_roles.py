"""Who may do what in a tenant, by role."""

from typing import Any

import grpc
import httpx
import pytest
from plinth.sites.v1.page_pb2 import DeletePageRequest

from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    database,
    log_in,
    new_member,
    new_tenant,
    problem,
    refused,
    stubs,
    unique,
)
from tests.stack import Stack

READS = (
    "sites.pages.read",
    "tenancy.tenants.read",
    "tenancy.branding.read",
    "tenancy.roles.read",
    "tenancy.members.read",
)
WRITES = (
    "sites.pages.create",
    "sites.pages.update",
    "sites.pages.delete",
    "sites.pages.publish",
    "tenancy.tenants.update",
    "tenancy.branding.update",
    "tenancy.roles.create",
    "tenancy.members.update",
    "tenancy.access.explain",
    "tenancy.tenants.delete",
)
PAGE_WRITES = WRITES[:4]
HELD = {
    "owner": {*READS, *WRITES},
    "admin": {*READS, *WRITES} - {"tenancy.tenants.delete"},
    "editor": {*READS[:3], *PAGE_WRITES, "tenancy.branding.update"},
    "member": set(READS),
    "viewer": set(READS),
    "employee": set(READS),
    "partner": {"sites.pages.read"},
    "made-up": set(),
}


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    """One tenant for all: each role only gets as far as it may, and the owner goes last."""
    return new_tenant(stack)


def attempts(tenant: Tenant, account: Account, session: Session) -> dict[str, httpx.Response]:
    """One call per permission, each in a state in which it can succeed."""
    rest, owner = Rest(tenant.stack, session.access_token), tenant.rest
    pages = f"{tenant.path}/pages"
    made = [
        owner.post(pages, {"title": "A page", "slug": f"a-{number}-{session.roles[0]}"}).json() for number in range(3)
    ]
    changed, published, deleted = (f"{pages}/{page['id']}" for page in made)
    return {
        "sites.pages.read": rest.get(pages),
        "tenancy.tenants.read": rest.get(tenant.path),
        "tenancy.branding.read": rest.get(f"{tenant.path}/branding"),
        "sites.pages.create": rest.post(pages, {"slug": f"new-{session.roles[0]}"}),
        "sites.pages.update": rest.patch(changed, {"title": "Changed"}),
        "sites.pages.publish": rest.post(f"{published}/publish"),
        "sites.pages.delete": rest.delete(deleted),
        "tenancy.tenants.update": rest.patch(tenant.path, {"name": "Changed"}),
        "tenancy.branding.update": rest.patch(f"{tenant.path}/branding", {"bodyFont": "Arial"}),
        "tenancy.roles.read": rest.get("rbac/permissions"),
        "tenancy.roles.create": rest.post("rbac/roles", {"name": unique("role")}),
        "tenancy.members.read": rest.get(f"users/{account.id}/roles"),
        "tenancy.members.update": rest.post(f"users/{account.id}/roles", {"role": "partner"}),
        "tenancy.access.explain": rest.get("rbac/explain", {"permission": "sites.pages.read"}),
        # Last, and only by those who must not: who may is another test's business.
        **({} if session.roles == ("owner",) else {"tenancy.tenants.delete": rest.delete(tenant.path)}),
    }


@pytest.mark.parametrize("role", HELD)
def test_a_role_may_do_what_it_holds_and_is_told_what_it_lacks(tenant: Tenant, role: str) -> None:
    account, session = new_member(tenant, role)
    for permission, response in attempts(tenant, account, session).items():
        if permission in HELD[role]:
            assert response.is_success, (permission, response.text)
        else:
            assert (response.status_code, problem(response).reason) == (403, "PERMISSION_MISSING"), permission
            assert problem(response).metadata == {"permission": permission}
    assert tenant.rest.get(tenant.path).status_code == 200


def test_what_is_forbidden_is_not_done(tenant: Tenant) -> None:
    _, session = new_member(tenant, "viewer")
    before = tenant.rest.get(f"{tenant.path}/branding").json()
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": "kept"}).json()
    viewer = Rest(tenant.stack, session.access_token)
    viewer.patch(f"{tenant.path}/branding", {"bodyFont": "Theirs"})
    why = refused(
        lambda: stubs(tenant.stack, session.access_token).pages.DeletePage(
            DeletePageRequest(tenant_id=tenant.id, page_id=page["id"])
        )
    )
    assert (why.code, why.metadata) == (
        grpc.StatusCode.PERMISSION_DENIED.value[0],
        {"permission": "sites.pages.delete"},
    )
    assert tenant.rest.get(f"{tenant.path}/branding").json() == before
    assert viewer.get(f"{tenant.path}/pages/{page['id']}").json() == page


def test_roles_add_up(tenant: Tenant) -> None:
    _, session = new_member(tenant, "partner", "editor")
    rest = Rest(tenant.stack, session.access_token)
    assert session.roles == ("partner", "editor")
    assert rest.get(tenant.path).status_code == 200
    assert rest.post(f"{tenant.path}/pages", {"slug": "by-both"}).status_code == 201


def test_who_may_not_learns_nothing_of_what_they_sent(tenant: Tenant) -> None:
    """AIP-211: authorisation stands before validation and before existence."""
    _, session = new_member(tenant, "viewer")
    rest = Rest(tenant.stack, session.access_token)
    absent = f"{tenant.path}/pages/01890000-0000-7000-8000-000000000000"
    calls: list[Any] = [
        rest.post(f"{tenant.path}/pages", {"slug": "No!"}),
        rest.post(f"{tenant.path}/pages", {"slgu": "x"}),
        rest.patch(absent, {"title": "x"}),
        rest.delete(absent),
    ]
    assert [problem(response).reason for response in calls] == ["PERMISSION_MISSING"] * 4


def test_a_role_that_was_taken_away_is_gone_at_once_and_from_the_next_token(tenant: Tenant) -> None:
    account, session = new_member(tenant, "editor", "viewer")
    rest = Rest(tenant.stack, session.access_token)
    assert rest.post(f"{tenant.path}/pages", {"slug": "in-time"}).status_code == 201
    [editor] = tenant.rest.get("rbac/roles", {"filter": 'name = "editor"'}).json()["roles"]
    assert tenant.rest.delete(f"users/{account.id}/roles/{editor['id']}").status_code == 204
    late = rest.post(f"{tenant.path}/pages", {"slug": "late"})
    assert problem(late).metadata == {"permission": "sites.pages.create"}
    for renewed in (
        Session.of(Rest(tenant.stack).post("auth/refresh", {"refreshToken": session.refresh_token})),
        log_in(tenant.stack, account),
    ):
        assert renewed.roles == ("viewer",)
        response = Rest(tenant.stack, renewed.access_token).post(f"{tenant.path}/pages", {"slug": "late"})
        assert problem(response).metadata == {"permission": "sites.pages.create"}


def test_who_left_is_a_stranger_with_the_next_token(tenant: Tenant) -> None:
    """By SQL, for lack of an RPC, and before the first call: nobody is told of it."""
    account, session = new_member(tenant, "editor")
    with database(tenant.stack) as connection:
        connection.execute("DELETE FROM memberships WHERE tenant_id = %s AND user_id = %s", (tenant.id, account.id))
    renewed = Session.of(Rest(tenant.stack).post("auth/refresh", {"refreshToken": session.refresh_token}))
    assert (renewed.tenant_id, renewed.roles) == ("", ())
    assert Rest(tenant.stack, renewed.access_token).get(f"{tenant.path}/pages").status_code == 404
