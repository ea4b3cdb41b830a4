"""Roles that a tenant makes: what they can be made of, and from when on they hold."""

from typing import Any

import httpx
import pytest
from plinth.sites.v1.page_pb2 import GetPageRequest
from plinth.sites.v1.page_pb2_grpc import PageServiceStub
from plinth.tenancy.v1.role_pb2 import DeleteRoleRequest, GetRoleRequest, ListRolesRequest, UpdateRoleRequest

from server import app
from server.kernel.policy import methods_by_permission
from server.kernel.resources import seen_by
from server.kernel.roles import BUILT_IN_ROLES
from tests.clients import (
    Rest,
    Tenant,
    another_tenant,
    database,
    new_member,
    problem,
    reason,
    refused,
    rows,
    stubs,
    unique,
)
from tests.domains.events import events_of
from tests.domains.platform import every_worker
from tests.stack import Stack

ROLES = "rbac/roles"
ALLOWED, MISSING = ["", ""], ["PERMISSION_MISSING"] * 2


def make_role(tenant: Tenant, *permissions: str) -> dict[str, Any]:
    """A new role of a tenant, as its owner makes it."""
    response = tenant.rest.post(ROLES, {"name": unique("role"), "permissions": permissions})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def path_of(role: dict[str, Any]) -> str:
    """Where a role is, for Rest."""
    return f"{ROLES}/{role['id']}"


def role_named(tenant: Tenant, name: str) -> dict[str, Any]:
    """The role of this name."""
    [found] = tenant.rest.get(ROLES, {"filter": f'name = "{name}"'}).json()["roles"]
    role: dict[str, Any] = found
    return role


def catalogue(tenant: Tenant) -> dict[str, list[str]]:
    """Every permission, and the RPCs that ask for it."""
    found = tenant.rest.get("rbac/permissions").json()["permissions"]
    return {permission["name"]: permission["methods"] for permission in found}


def custom_roles(tenant: Tenant) -> list[dict[str, Any]]:
    """The roles that the tenant made."""
    found: list[dict[str, Any]] = tenant.rest.get(ROLES, {"filter": "built_in = false"}).json()["roles"]
    return found


# Built-in roles ------------------------------------------------------------------------------------------------------


def test_a_tenant_is_born_with_the_built_in_roles(stack: Stack, tenant: Tenant) -> None:
    answer = tenant.rest.get(ROLES, {"includeTotal": "true"}).json()
    assert [role["name"] for role in answer["roles"]] == sorted(BUILT_IN_ROLES)
    assert answer["totalSize"] == len(BUILT_IN_ROLES)
    assert {role["builtIn"] for role in answer["roles"]} == {True}
    born = rows(stack, "SELECT xmin::text FROM roles WHERE tenant_id = %s", tenant.id)
    [made] = rows(
        stack,
        "SELECT transaction_id::text AS xmin FROM events WHERE tenant_id = %s AND type = 'tenant.created'",
        tenant.id,
    )
    assert {row["xmin"] for row in born} == {made["xmin"]}


def test_the_seeded_tenant_has_them_too(stack: Stack) -> None:
    found = rows(stack, "SELECT name FROM roles WHERE tenant_id = %s AND built_in ORDER BY name", stack.tenant_id)
    assert [row["name"] for row in found] == sorted(BUILT_IN_ROLES)


# What everybody may do about themselves.
OF_ONESELF = {
    "audit.activity.read",
    *(f"identity.{what}.{verb}" for what in ("profiles", "preferences") for verb in ("read", "update")),
    *("identity.terms.read", "identity.terms.accept"),
    *(f"notifications.notifications.{verb}" for verb in ("read", "update", "delete")),
    *(f"notifications.preferences.{verb}" for verb in ("read", "update")),
    *(f"notifications.devices.{verb}" for verb in ("read", "create", "delete")),
    "notifications.deliveries.read",
}


def test_built_in_roles_show_what_they_permit(tenant: Tenant) -> None:
    every = list(catalogue(tenant))
    shown = {role["name"]: role for role in tenant.rest.get(ROLES).json()["roles"]}
    assert shown["owner"]["permissions"] == every == sorted(every)
    assert shown["admin"]["permissions"] == [name for name in every if name != "tenancy.tenants.delete"]
    read = {name for name in every if name.startswith(("sites.", "files.", "realtime.")) and name.endswith(".read")}
    read |= {"dictionary.dictionaries.read", "dictionary.entries.read"}
    read |= {f"stories.{what}.read" for what in ("settings", "stories", "comments", "ratings")}
    assert set(shown["partner"]["permissions"]) == read | OF_ONESELF | {"flags.flags.evaluate", "files.images.upload"}
    assert "travel.trips.manage" in every
    assert "travel.trips.manage" not in shown["member"]["permissions"]
    assert [tenant.rest.get(path_of(role)).json() for role in shown.values()] == list(shown.values())


@pytest.mark.parametrize("name", BUILT_IN_ROLES)
def test_a_built_in_role_stays_as_it_is(tenant: Tenant, name: str) -> None:
    role = role_named(tenant, name)
    responses = [
        tenant.rest.patch(path_of(role), {"description": "Changed"}),
        tenant.rest.put(path_of(role), {"permissions": []}),
        tenant.rest.patch(path_of(role), {"name": "renamed"}),
        tenant.rest.delete(path_of(role)),
    ]
    assert [reason(response) for response in responses] == [(409, "STATE_FORBIDS")] * len(responses)
    metadata = {"resource_type": "plinth.dev/Role", "resource": role["id"], "state": "BUILT_IN"}
    assert [problem(response).metadata for response in responses] == [metadata] * len(responses)
    assert role_named(tenant, name) == role


# The catalogue -------------------------------------------------------------------------------------------------------


def test_the_catalogue_has_every_permission_and_who_asks_for_it(tenant: Tenant) -> None:
    declared = methods_by_permission(app.policies().values()) | seen_by(app.SERVICES)
    assert {name: tuple(methods) for name, methods in catalogue(tenant).items()} == declared
    assert "PageService.GetPage" in catalogue(tenant)["sites.pages.read"]


def test_what_only_platform_administrators_may_do_is_in_no_role(tenant: Tenant) -> None:
    assert "tenancy.rate_limits.update" not in catalogue(tenant)
    response = tenant.rest.post(ROLES, {"name": "climber", "permissions": ["tenancy.rate_limits.update"]})
    assert problem(response).rules == ("permission.unknown",)


# Custom roles --------------------------------------------------------------------------------------------------------


def test_a_role_is_made_changed_and_deleted(stack: Stack, tenant: Tenant) -> None:
    asked = {"name": "author", "description": "Writes.", "permissions": ["sites.pages.create"]}
    built_in = tenant.rest.post(ROLES, asked | {"builtIn": True})
    assert (built_in.status_code, {*problem(built_in).violations}) == (422, {"builtIn"})
    made = tenant.rest.post(ROLES, asked | {"builtIn": False})
    assert made.status_code == 201
    role = made.json()
    assert made.headers["location"] == f"/api/v1/{path_of(role)}"
    assert (role["name"], role["builtIn"], role["permissions"]) == ("author", False, ["sites.pages.create"])
    assert tenant.rest.get(path_of(role)).json() == role
    more = ["sites.pages.update", "sites.pages.create"]
    changed = tenant.rest.patch(path_of(role), {"permissions": more}).json()
    assert changed == role | {key: changed[key] for key in ("permissions", "updateTime", "etag")}
    assert changed["permissions"] == more
    assert changed["etag"] != role["etag"]
    assert custom_roles(tenant) == [changed]
    deleted = tenant.rest.delete(path_of(role))
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert reason(tenant.rest.get(path_of(role))) == (404, "RESOURCE_NOT_FOUND")
    events = [event for event in events_of(stack, tenant.id) if event.type.startswith("role.")]
    assert [event.type for event in events] == ["role.created", "role.updated", "role.deleted"]
    assert [list(event.payload.permissions) for event in events] == [["sites.pages.create"], more, more]
    assert {(event.resource_id, event.actor_id) for event in events} == {(role["id"], tenant.owner.id)}


def test_the_same_over_grpc(tenant: Tenant) -> None:
    roles = tenant.stubs.roles
    role = make_role(tenant, "sites.pages.read")
    changed = roles.UpdateRole(UpdateRoleRequest(role_id=role["id"], role={"permissions": ["sites.pages.create"]}))
    assert list(changed.permissions) == ["sites.pages.create"]
    cleared = roles.UpdateRole(UpdateRoleRequest(role_id=role["id"], role={}, update_mask={"paths": ["permissions"]}))
    assert list(cleared.permissions) == []
    assert [found.name for found in roles.ListRoles(ListRolesRequest(filter="built_in = false")).roles] == [
        role["name"]
    ]
    roles.DeleteRole(DeleteRoleRequest(role_id=role["id"], etag=cleared.etag))
    assert refused(lambda: roles.GetRole(GetRoleRequest(role_id=role["id"]))).reason == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a", "string.min_len"),
        ("a" * 41, "string.max_len"),
        ("Author", "string.code"),
        ("1st", "string.code"),
        ("the author", "string.code"),
        ("", "required"),
    ],
)
def test_a_name_keeps_the_rules(tenant: Tenant, name: str, rule: str) -> None:
    response = tenant.rest.post(ROLES, {"name": name})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert (set(problem(response).violations), problem(response).rules) == ({"name"}, (rule,))


@pytest.mark.parametrize("name", [*BUILT_IN_ROLES, "super_admin", "author"])
def test_a_taken_name_is_refused(tenant: Tenant, name: str) -> None:
    assert tenant.rest.post(ROLES, {"name": "author"}).status_code == 201
    response = tenant.rest.post(ROLES, {"name": name})
    assert reason(response) == (409, "RESOURCE_TAKEN")
    assert problem(response).metadata == {"resource_type": "plinth.dev/Role", "field": "name"}
    assert another_tenant(tenant).rest.post(ROLES, {"name": "author"}).status_code == 201


def test_every_permission_that_there_is_not_is_named(tenant: Tenant) -> None:
    wrong = {"name": "wrong", "permissions": ["sites.pages.read", "sites.pages.fly", "sites.*"]}
    kept = make_role(tenant, "sites.pages.read")
    for response in (
        tenant.rest.post(ROLES, wrong),
        tenant.rest.patch(path_of(kept), {"permissions": wrong["permissions"]}),
    ):
        assert reason(response) == (422, "RULE_VIOLATED")
        assert set(problem(response).violations) == {"permissions[1]", "permissions[2]"}
    assert custom_roles(tenant) == [kept]


def test_a_permission_that_left_the_catalogue_permits_nothing_and_hinders_nothing(stack: Stack, tenant: Tenant) -> None:
    role = make_role(tenant, "sites.pages.read")
    with database(stack) as connection:
        connection.execute("UPDATE roles SET permissions = '{gone.things.read}' WHERE id = %s", (role["id"],))
    changed = tenant.rest.patch(path_of(role), {"description": "As it was."})
    assert (changed.status_code, changed.json()["permissions"]) == (200, ["gone.things.read"])
    assert tenant.rest.patch(path_of(role), {"permissions": []}).status_code == 200
    again = tenant.rest.patch(path_of(role), {"permissions": ["gone.things.read"]})
    assert problem(again).rules == ("permission.unknown",)
    assert tenant.rest.delete(path_of(role)).status_code == 204


def test_another_tenants_roles_are_out_of_reach(tenant: Tenant) -> None:
    other = another_tenant(tenant)
    theirs = [make_role(other, "sites.pages.read"), role_named(other, "editor")]
    for role in theirs:
        responses = [
            tenant.rest.get(path_of(role)),
            tenant.rest.patch(path_of(role), {"description": "Ours"}),
            tenant.rest.delete(path_of(role)),
        ]
        assert [reason(response) for response in responses] == [(404, "RESOURCE_NOT_FOUND")] * len(responses)
        assert tenant.rest.get(ROLES, {"filter": f"id = {role['id']}"}).json()["roles"] == []
        assert other.rest.get(path_of(role)).json() == role


def test_who_may_not_make_roles_is_told(tenant: Tenant) -> None:
    role = make_role(tenant)
    _, session = new_member(tenant, "viewer")
    viewer = Rest(tenant.stack, session.access_token)
    assert viewer.get(path_of(role)).status_code == 200
    attempts = {
        "tenancy.roles.create": viewer.post(ROLES, {"name": "mine"}),
        "tenancy.roles.update": viewer.patch(path_of(role), {"description": "Mine"}),
        "tenancy.roles.delete": viewer.delete(path_of(role)),
    }
    for permission, response in attempts.items():
        assert reason(response) == (403, "PERMISSION_MISSING")
        assert problem(response).metadata == {"permission": permission}


# From when on they hold ----------------------------------------------------------------------------------------------


def test_a_permission_comes_and_goes_with_the_next_call_on_every_worker(stack: Stack, tenant: Tenant) -> None:
    """With one and the same token, also where the answer was served from the cache a moment ago."""
    role = make_role(tenant, "sites.pages.create")
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": "kept"}).json()
    request = GetPageRequest(tenant_id=tenant.id, page_id=page["id"])
    _, session = new_member(tenant, role["name"])
    with every_worker(stack, session.access_token) as ask:
        assert ask(PageServiceStub, "GetPage", request) == MISSING
        for _ in range(3):
            tenant.rest.patch(path_of(role), {"permissions": ["sites.pages.read"]})
            assert ask(PageServiceStub, "GetPage", request) == ALLOWED
            assert ask(PageServiceStub, "GetPage", request) == ALLOWED
            tenant.rest.patch(path_of(role), {"permissions": ["sites.pages.create"]})
            assert ask(PageServiceStub, "GetPage", request) == MISSING


def test_a_deleted_role_is_gone_for_everyone_who_had_it(stack: Stack, tenant: Tenant) -> None:
    role = make_role(tenant, "sites.pages.read")
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": "kept"}).json()
    request = GetPageRequest(tenant_id=tenant.id, page_id=page["id"])
    account, first = new_member(tenant, role["name"])
    other, second = new_member(tenant, "partner", role["name"])
    with every_worker(stack, first.access_token) as ask, every_worker(stack, second.access_token) as ask_second:
        assert ask(PageServiceStub, "GetPage", request) == ask_second(PageServiceStub, "GetPage", request) == ALLOWED
        assert tenant.rest.delete(path_of(role)).status_code == 204
        assert ask(PageServiceStub, "GetPage", request) == MISSING
        assert ask_second(PageServiceStub, "GetPage", request) == ALLOWED
        # A later role of that name is another one.
        again = tenant.rest.post(ROLES, {"name": role["name"], "permissions": ["sites.pages.read"]})
        assert again.status_code == 201
        assert ask(PageServiceStub, "GetPage", request) == MISSING
    assert tenant.rest.get(f"users/{account.id}/roles").json()["roles"] == []
    assert [held["name"] for held in tenant.rest.get(f"users/{other.id}/roles").json()["roles"]] == ["partner"]


# Nobody grants what they lack ----------------------------------------------------------------------------------------


def assert_exceeds(response: httpx.Response, permission: str) -> None:
    """That a grant was refused for lack of this permission."""
    assert reason(response) == (403, "GRANT_EXCEEDS_OWN")
    assert problem(response).metadata == {"permission": permission}


def test_an_admin_makes_no_role_of_what_only_owners_may(tenant: Tenant) -> None:
    _, session = new_member(tenant, "admin")
    admin = Rest(tenant.stack, session.access_token)
    too_much = ["sites.pages.read", "tenancy.tenants.delete"]
    assert_exceeds(admin.post(ROLES, {"name": "heir", "permissions": too_much}), "tenancy.tenants.delete")
    mine = admin.post(ROLES, {"name": "mine", "permissions": ["sites.pages.read"]}).json()
    assert_exceeds(admin.patch(path_of(mine), {"permissions": too_much}), "tenancy.tenants.delete")
    assert custom_roles(tenant) == [mine]


def test_a_role_beyond_ones_own_can_be_neither_changed_nor_deleted(tenant: Tenant) -> None:
    manager = make_role(tenant, "tenancy.roles.create", "tenancy.roles.update", "tenancy.roles.delete")
    beyond = make_role(tenant, "sites.pages.delete")
    _, session = new_member(tenant, manager["name"])
    rest = Rest(tenant.stack, session.access_token)
    for response in (
        rest.patch(path_of(beyond), {"description": "Mine"}),
        rest.patch(path_of(beyond), {"permissions": []}),
        rest.delete(path_of(beyond)),
        rest.patch(path_of(manager), {"permissions": [*manager["permissions"], "sites.pages.delete"]}),
    ):
        assert_exceeds(response, "sites.pages.delete")
    assert tenant.rest.get(path_of(beyond)).json() == beyond
    assert tenant.rest.get(path_of(manager)).json() == manager
    why = refused(
        lambda: stubs(tenant.stack, session.access_token).roles.UpdateRole(
            UpdateRoleRequest(role_id=beyond["id"], role={"description": "Mine"})
        )
    )
    assert (why.reason, why.metadata) == ("GRANT_EXCEEDS_OWN", {"permission": "sites.pages.delete"})
    # What stays within their own they may do, and take away from themselves.
    assert rest.patch(path_of(manager), {"permissions": ["tenancy.roles.create"]}).status_code == 200
    assert reason(rest.delete(path_of(manager))) == (403, "PERMISSION_MISSING")
