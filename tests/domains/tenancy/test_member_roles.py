"""Roles that members have: given and taken by those who may do as much themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from plinth.sites.v1.page_pb2 import CreatePageRequest
from plinth.sites.v1.page_pb2_grpc import PageServiceStub
from plinth.tenancy.v1.role_pb2 import AssignRoleRequest, DeleteRoleRequest, ListMemberRolesRequest, RemoveRoleRequest

from tests.clients import (
    Account,
    Rest,
    Tenant,
    another_tenant,
    database,
    new_member,
    problem,
    reason,
    refused,
    rows,
    sign_up,
)
from tests.domains.events import Written, events_of
from tests.domains.platform import every_worker
from tests.domains.tenancy.test_custom_roles import assert_exceeds, make_role, role_named
from tests.stack import Stack

ABSENT = "01890000-0000-7000-8000-000000000000"


def names_of(tenant: Tenant, account: Account) -> list[str]:
    """The names of the roles of a member."""
    return [role["name"] for role in tenant.rest.get(f"users/{account.id}/roles").json()["roles"]]


def membership_events(tenant: Tenant) -> list[Written]:
    """What happened to memberships."""
    return [event for event in events_of(tenant.stack, tenant.id) if event.type.startswith("membership.")]


def test_the_roles_of_a_member_are_listed_whole(tenant: Tenant) -> None:
    custom = make_role(tenant, "sites.pages.create")
    account, _ = new_member(tenant, "viewer", custom["name"], "editor")
    editor, viewer = role_named(tenant, "editor"), role_named(tenant, "viewer")
    assert editor["permissions"]
    listed = tenant.rest.get(f"users/{account.id}/roles").json()["roles"]
    assert sorted(listed, key=lambda role: str(role["id"])) == sorted(
        [custom, editor, viewer], key=lambda role: str(role["id"])
    )
    over_grpc = tenant.stubs.members.ListMemberRoles(ListMemberRolesRequest(user_id=account.id.upper()))
    assert {role.name for role in over_grpc.roles} == {custom["name"], "editor", "viewer"}


def test_who_is_no_member_is_not_found(tenant: Tenant) -> None:
    stranger, editor = sign_up(tenant.stack), role_named(tenant, "editor")
    theirs, _ = new_member(another_tenant(tenant), "editor")
    for user_id in (stranger.id, theirs.id, ABSENT):
        responses = [
            tenant.rest.get(f"users/{user_id}/roles"),
            tenant.rest.post(f"users/{user_id}/roles", {"role": "editor"}),
            tenant.rest.delete(f"users/{user_id}/roles/{editor['id']}"),
        ]
        assert [reason(response) for response in responses] == [(404, "RESOURCE_NOT_FOUND")] * len(responses)
        assert {problem(response).resource_type for response in responses} == {"plinth.dev/User"}
    assert rows(tenant.stack, "SELECT FROM memberships WHERE user_id = %s", stranger.id) == []
    [kept] = rows(tenant.stack, "SELECT roles FROM memberships WHERE user_id = %s", theirs.id)
    assert kept["roles"] == ["editor"]


def test_a_role_is_given_and_taken(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "viewer")
    given = tenant.rest.post(f"users/{account.id}/roles", {"role": "editor"})
    assert (given.status_code, given.json()) == (200, {"id": account.id, "roles": ["viewer", "editor"]})
    assert names_of(tenant, account) == ["editor", "viewer"]
    taken = tenant.rest.delete(f"users/{account.id}/roles/{role_named(tenant, 'viewer')['id']}")
    assert (taken.status_code, taken.content) == (204, b"")
    assert names_of(tenant, account) == ["editor"]
    events = membership_events(tenant)
    assert [event.type for event in events] == ["membership.role_assigned", "membership.role_removed"]
    assert [list(event.payload.roles) for event in events] == [["viewer", "editor"], ["editor"]]
    assert {(event.resource_id, event.actor_id) for event in events} == {(account.id, tenant.owner.id)}


def test_a_role_that_somebody_has_already_changes_nothing(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "viewer")
    again = tenant.stubs.members.AssignRole(AssignRoleRequest(user_id=account.id.upper(), role="viewer"))
    assert (again.id, list(again.roles)) == (account.id, ["viewer"])
    assert names_of(tenant, account) == ["viewer"]
    assert membership_events(tenant) == []


def test_a_member_has_at_most_fifty_roles(tenant: Tenant) -> None:
    """Nothing that can be written makes a read fail: all roles of a member are one answer, and stand in their token."""
    account, _ = new_member(tenant, *(f"role-{number}" for number in range(49)))
    assert tenant.rest.post(f"users/{account.id}/roles", {"role": "viewer"}).status_code == 200
    held = rows(tenant.stack, "SELECT roles FROM memberships WHERE user_id = %s", account.id)
    answer = tenant.rest.post(f"users/{account.id}/roles", {"role": "editor"})
    assert reason(answer) == (409, "LIMIT_REACHED")
    request = AssignRoleRequest(user_id=account.id, role="editor")
    assert refused(lambda: tenant.stubs.members.AssignRole(request)).metadata["limit"] == "50"
    assert rows(tenant.stack, "SELECT roles FROM memberships WHERE user_id = %s", account.id) == held
    # What is held already is given again.
    assert tenant.rest.post(f"users/{account.id}/roles", {"role": "viewer"}).status_code == 200


def test_the_last_role_can_be_taken(tenant: Tenant) -> None:
    account, session = new_member(tenant, "viewer")
    assert tenant.rest.delete(f"users/{account.id}/roles/{role_named(tenant, 'viewer')['id']}").status_code == 204
    assert names_of(tenant, account) == []
    # Still a member, who may do nothing.
    assert reason(Rest(tenant.stack, session.access_token).get(tenant.path)) == (403, "PERMISSION_MISSING")


def test_a_role_that_there_is_not_can_be_neither_given_nor_taken(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "viewer")
    other = another_tenant(tenant)
    theirs = make_role(other, "sites.pages.read")
    responses = [
        tenant.rest.post(f"users/{account.id}/roles", {"role": "no-such-role"}),
        tenant.rest.post(f"users/{account.id}/roles", {"role": theirs["name"]}),
        tenant.rest.delete(f"users/{account.id}/roles/{ABSENT}"),
        tenant.rest.delete(f"users/{account.id}/roles/{theirs['id']}"),
        # Its name is right, but it is the other tenant's.
        tenant.rest.delete(f"users/{account.id}/roles/{role_named(other, 'viewer')['id']}"),
        # It is there, but not theirs.
        tenant.rest.delete(f"users/{account.id}/roles/{role_named(tenant, 'editor')['id']}"),
    ]
    assert [reason(response) for response in responses] == [(404, "RESOURCE_NOT_FOUND")] * len(responses)
    assert {problem(response).resource_type for response in responses} == {"plinth.dev/Role"}
    assert names_of(tenant, account) == ["viewer"]


def test_a_role_comes_and_goes_with_the_next_call_on_every_worker(stack: Stack, tenant: Tenant) -> None:
    """With one and the same token."""
    account, session = new_member(tenant, "viewer")
    for role in (role_named(tenant, "editor"), make_role(tenant, "sites.pages.create")):
        with every_worker(stack, session.access_token) as ask:
            assert ask(PageServiceStub, "CreatePage", impossible_page(tenant)) == ["PERMISSION_MISSING"] * 2
            tenant.stubs.members.AssignRole(AssignRoleRequest(user_id=account.id, role=role["name"]))
            assert ask(PageServiceStub, "CreatePage", impossible_page(tenant)) == ["RULE_VIOLATED"] * 2
            tenant.stubs.members.RemoveRole(RemoveRoleRequest(user_id=account.id, role_id=role["id"]))
            assert ask(PageServiceStub, "CreatePage", impossible_page(tenant)) == ["PERMISSION_MISSING"] * 2


def impossible_page(tenant: Tenant) -> CreatePageRequest:
    """What nobody can create, so that asking has no effect: who may is told of the rule."""
    return CreatePageRequest(tenant_id=tenant.id, page={"slug": "No!"})


# Nobody gives or takes what they lack --------------------------------------------------------------------------------


def test_an_admin_makes_and_unmakes_no_owner(tenant: Tenant) -> None:
    account, session = new_member(tenant, "admin")
    other, _ = new_member(tenant, "owner")
    admin = Rest(tenant.stack, session.access_token)
    owner = role_named(tenant, "owner")
    assert_exceeds(admin.post(f"users/{account.id}/roles", {"role": "owner"}), "tenancy.tenants.delete")
    assert_exceeds(admin.delete(f"users/{other.id}/roles/{owner['id']}"), "tenancy.tenants.delete")
    assert (names_of(tenant, account), names_of(tenant, other)) == (["admin"], ["owner"])
    assert admin.post(f"users/{account.id}/roles", {"role": "editor"}).status_code == 200


def test_a_custom_role_beyond_ones_own_is_neither_given_nor_taken(tenant: Tenant) -> None:
    manager = make_role(tenant, "tenancy.members.update", "tenancy.members.read", "sites.pages.read")
    beyond, within = make_role(tenant, "sites.pages.delete"), make_role(tenant, "sites.pages.read")
    account, session = new_member(tenant, manager["name"])
    other, _ = new_member(tenant, beyond["name"])
    rest = Rest(tenant.stack, session.access_token)
    assert_exceeds(rest.post(f"users/{account.id}/roles", {"role": beyond["name"]}), "sites.pages.delete")
    assert_exceeds(rest.delete(f"users/{other.id}/roles/{beyond['id']}"), "sites.pages.delete")
    assert rest.post(f"users/{other.id}/roles", {"role": within["name"]}).status_code == 200
    assert rest.delete(f"users/{other.id}/roles/{within['id']}").status_code == 204


def test_who_may_not_give_roles_is_told(tenant: Tenant) -> None:
    account, session = new_member(tenant, "viewer")
    viewer = Rest(tenant.stack, session.access_token)
    role = role_named(tenant, "viewer")
    for response in (
        viewer.post(f"users/{account.id}/roles", {"role": "viewer"}),
        viewer.delete(f"users/{account.id}/roles/{role['id']}"),
    ):
        assert problem(response).metadata == {"permission": "tenancy.members.update"}


# The last owner ------------------------------------------------------------------------------------------------------


def test_the_last_owner_stays_one(tenant: Tenant) -> None:
    owner = f"users/{tenant.owner.id}/roles/{role_named(tenant, 'owner')['id']}"
    response = tenant.rest.delete(owner)
    assert reason(response) == (409, "STATE_FORBIDS")
    assert problem(response).metadata == {
        "resource_type": "plinth.dev/Tenant",
        "resource": tenant.id,
        "state": "LAST_OWNER",
    }
    assert names_of(tenant, tenant.owner) == ["owner"]
    heir, session = new_member(tenant, "viewer")
    assert tenant.rest.post(f"users/{heir.id}/roles", {"role": "owner"}).status_code == 200
    assert tenant.rest.delete(owner).status_code == 204
    heirs = Rest(tenant.stack, session.access_token)
    assert heirs.get(f"users/{tenant.owner.id}/roles").json()["roles"] == []
    assert problem(heirs.delete(owner.replace(tenant.owner.id, heir.id))).metadata["state"] == "LAST_OWNER"


@contextmanager
def held_up(stack: Stack, tenant: Tenant) -> Iterator[Callable[[], int]]:
    """Holds up every write to the tenant's memberships until the end; gives what tells how many calls wait."""
    with database(stack) as connection:
        mine = connection.info.backend_pid
        connection.execute("SELECT FROM memberships WHERE tenant_id = %s FOR UPDATE", (tenant.id,))

        def waiting() -> int:
            [row] = rows(stack, WAITING, mine)
            return int(row["count"])

        yield waiting


# Who waits for the first one's locks, and who waits for those in turn.
WAITING = """
WITH RECURSIVE waiting (pid) AS (
  SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))
  UNION SELECT a.pid FROM pg_stat_activity a JOIN waiting w ON w.pid = ANY (pg_blocking_pids(a.pid))
) SELECT count(*) FROM waiting
"""


def test_of_two_owners_who_leave_at_once_one_stays(stack: Stack, tenant: Tenant) -> None:
    other, _ = new_member(tenant, "owner")
    role_id = role_named(tenant, "owner")["id"]
    remove = tenant.stubs.members.RemoveRole
    with held_up(stack, tenant) as waiting:
        calls = [
            remove.future(RemoveRoleRequest(user_id=user_id, role_id=role_id))
            for user_id in (tenant.owner.id, other.id)
        ]
        stack.wait_for(lambda: waiting() == len(calls))
    assert sorted(call.code().name for call in calls) == ["FAILED_PRECONDITION", "OK"]
    owners = rows(stack, "SELECT FROM memberships WHERE tenant_id = %s AND 'owner' = ANY (roles)", tenant.id)
    assert len(owners) == 1


def test_a_role_that_is_deleted_while_it_is_given_stays_with_nobody(stack: Stack, tenant: Tenant) -> None:
    """Or else a later role of that name would be theirs."""
    account, _ = new_member(tenant, "viewer")
    role = make_role(tenant, "sites.pages.delete")
    with held_up(stack, tenant) as waiting:
        given = tenant.stubs.members.AssignRole.future(AssignRoleRequest(user_id=account.id, role=role["name"]))
        stack.wait_for(lambda: waiting() == 1)
        deleted = tenant.stubs.roles.DeleteRole.future(DeleteRoleRequest(role_id=role["id"]))
        stack.wait_for(lambda: waiting() == 2)
    assert (given.code().name, deleted.code().name) == ("OK", "OK")
    [member] = rows(stack, "SELECT roles FROM memberships WHERE user_id = %s", account.id)
    assert member["roles"] == ["viewer"]


@pytest.mark.parametrize("role", ["", "x" * 41])
def test_a_name_that_no_role_can_have_is_refused(tenant: Tenant, role: str) -> None:
    why = refused(lambda: tenant.stubs.members.AssignRole(AssignRoleRequest(user_id=tenant.owner.id, role=role)))
    assert set(why.violations) == {"role"}
