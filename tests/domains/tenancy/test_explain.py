"""Why somebody may do something, and why not."""

from typing import Any

import pytest
from plinth.tenancy.v1.role_pb2 import ExplainAccessRequest, Grant

from server.kernel.roles import BUILT_IN_ROLES
from tests.clients import (
    Account,
    Rest,
    Tenant,
    another_tenant,
    database,
    log_in,
    new_member,
    problem,
    reason,
    refused,
    sign_up,
)
from tests.domains.explanations import check
from tests.domains.platform import make_platform_admin
from tests.domains.tenancy.test_custom_roles import catalogue, make_role, role_named

EXPLAIN = "rbac/explain"
ABSENT = "01890000-0000-7000-8000-000000000000"
DELETE = "sites.pages.delete"


def explained(rest: Rest, permission: str, **whom: str) -> dict[str, Any]:
    """The explanation that a caller is given."""
    response = rest.get(EXPLAIN, {"permission": permission, **whom})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["permission"] == permission
    check(answer["explanation"])
    assert (answer["explanation"]["outcome"] == "OUTCOME_PASS") == answer["allowed"]
    return answer


def one_shape(outcome: str, *reasons: tuple[str, str, str, str]) -> dict[str, Any]:
    """An explanation whose reasons are step, code, rule and value; without what would change them."""
    names = ("step", "code", "ruleId", "value")
    return {
        "outcome": f"OUTCOME_{outcome}",
        "reasons": [dict(zip(names, reason, strict=True)) | {"outcome": f"OUTCOME_{outcome}"} for reason in reasons],
    }


def without_remedies(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the sentences that say what would change it."""
    for one in answer["explanation"]["reasons"]:
        del one["wouldChangeIf"]
    return answer


def grant(source: str, name: str, rule: str) -> dict[str, str]:
    """A grant as JSON."""
    return {"source": f"SOURCE_{source}", "name": name, "rule": rule}


def make_key(tenant: Tenant, *permissions: str) -> dict[str, Any]:
    """An API key of the tenant, with its secret in `key`."""
    response = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "Robot", "permissions": permissions})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


# Users ---------------------------------------------------------------------------------------------------------------


def test_the_caller_is_explained_when_nobody_is_named(tenant: Tenant) -> None:
    assert without_remedies(explained(tenant.rest, DELETE)) == {
        "allowed": True,
        "permission": DELETE,
        "tenantId": tenant.id,
        "grants": [grant("BUILT_IN_ROLE", "owner", "*")],
        "considered": ["owner"],
        "missing": "",
        "rolesThatAllow": ["owner", "admin", "editor"],
        "explanation": one_shape("PASS", ("role", "HOLDS", "owner", "*")),
    }


@pytest.mark.parametrize(
    ("role", "permission", "rule"),
    [
        ("admin", "tenancy.tenants.update", "*"),
        ("editor", DELETE, "sites.*"),
        ("editor", "tenancy.tenants.read", "tenancy.tenants.read"),
        ("editor", "tenancy.branding.update", "tenancy.branding.*"),
        ("viewer", "sites.pages.read", "sites.*.read"),
        ("member", "tenancy.branding.read", "tenancy.*.read"),
    ],
)
def test_a_built_in_role_is_explained_by_its_pattern(tenant: Tenant, role: str, permission: str, rule: str) -> None:
    account, _ = new_member(tenant, role)
    answer = explained(tenant.rest, permission, userId=account.id)
    assert (answer["allowed"], answer["grants"]) == (True, [grant("BUILT_IN_ROLE", role, rule)])


def test_a_pattern_that_is_taken_away_grants_nothing(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "admin")
    assert without_remedies(explained(tenant.rest, "tenancy.tenants.delete", userId=account.id)) == {
        "allowed": False,
        "permission": "tenancy.tenants.delete",
        "tenantId": tenant.id,
        "grants": [],
        "considered": ["admin"],
        "missing": "The permission `tenancy.tenants.delete` is missing: no role of the user holds it.",
        "rolesThatAllow": ["owner"],
        "explanation": one_shape("FAIL", ("role", "LACKS", "admin", "tenancy.tenants.delete")),
    }


def test_a_custom_role_is_explained_by_the_permission_that_stands_in_it(tenant: Tenant) -> None:
    cleaner, reader = make_role(tenant, DELETE), make_role(tenant, "sites.pages.read")
    make_role(another_tenant(tenant), DELETE)
    account, _ = new_member(tenant, reader["name"], cleaner["name"], "viewer")
    answer = explained(tenant.rest, DELETE, userId=account.id)
    assert (answer["allowed"], answer["missing"]) == (True, "")
    assert answer["grants"] == [grant("CUSTOM_ROLE", cleaner["name"], DELETE)]
    assert answer["considered"] == [reader["name"], cleaner["name"], "viewer"]
    assert answer["rolesThatAllow"] == ["owner", "admin", "editor", cleaner["name"]]


def test_every_grant_is_named(tenant: Tenant) -> None:
    cleaner = make_role(tenant, DELETE)
    account, _ = new_member(tenant, "editor", cleaner["name"])
    answer = tenant.stubs.roles.ExplainAccess(ExplainAccessRequest(permission=DELETE, user_id=account.id.upper()))
    assert [(found.source, found.name, found.rule) for found in answer.grants] == [
        (Grant.SOURCE_BUILT_IN_ROLE, "editor", "sites.*"),
        (Grant.SOURCE_CUSTOM_ROLE, cleaner["name"], DELETE),
    ]


@pytest.mark.parametrize("roles", [(), ("made-up",)])
def test_who_holds_nothing_is_told_what_would_help(tenant: Tenant, roles: tuple[str, ...]) -> None:
    account, _ = new_member(tenant, *roles)
    before = explained(tenant.rest, DELETE, userId=account.id)
    assert (before["allowed"], before["grants"], before["considered"]) == (False, [], list(roles))
    assert DELETE in before["missing"]
    for role in before["rolesThatAllow"]:
        tenant.rest.post(f"users/{account.id}/roles", {"role": role})
        assert explained(tenant.rest, DELETE, userId=account.id)["allowed"] is True
        tenant.rest.delete(f"users/{account.id}/roles/{role_named(tenant, role)['id']}")
    assert explained(tenant.rest, DELETE, userId=account.id) == before


@pytest.mark.parametrize("role", BUILT_IN_ROLES)
def test_what_is_explained_is_what_the_role_holds(tenant: Tenant, role: str) -> None:
    account, _ = new_member(tenant, role)
    held = set(role_named(tenant, role)["permissions"])
    for permission in catalogue(tenant):
        answer = tenant.stubs.roles.ExplainAccess(ExplainAccessRequest(permission=permission, user_id=account.id))
        assert (answer.allowed, bool(answer.grants), not answer.missing) == (permission in held,) * 3, permission


# API keys ------------------------------------------------------------------------------------------------------------


def test_an_api_key_is_explained_by_its_permissions(tenant: Tenant) -> None:
    key = make_key(tenant, DELETE)
    allowed = explained(tenant.rest, DELETE, apiKeyId=key["id"])
    assert (allowed["allowed"], allowed["considered"]) == (True, ["api_key"])
    assert allowed["grants"] == [grant("API_KEY", "Robot", DELETE)]
    denied = explained(tenant.rest, "sites.pages.read", apiKeyId=key["id"])
    assert (denied["allowed"], denied["grants"], denied["considered"]) == (False, [], ["api_key"])
    assert denied["missing"] == "The permission `sites.pages.read` is missing: the API key does not hold it."


def test_an_api_key_explains_itself(tenant: Tenant) -> None:
    key = make_key(tenant, "tenancy.access.explain")
    rest = Rest(tenant.stack, key["key"])
    answer = explained(rest, "tenancy.access.explain")
    assert answer["grants"] == [grant("API_KEY", "Robot", "tenancy.access.explain")]
    assert explained(rest, DELETE)["allowed"] is False
    assert explained(rest, DELETE, userId=tenant.owner.id)["grants"] == [grant("BUILT_IN_ROLE", "owner", "*")]


def test_an_api_key_that_counts_no_more_is_not_found(tenant: Tenant) -> None:
    revoked, theirs = make_key(tenant, DELETE), make_key(another_tenant(tenant), DELETE)
    assert tenant.rest.delete(f"{tenant.path}/api-keys/{revoked['id']}").status_code == 204
    for key_id in (revoked["id"], theirs["id"], ABSENT):
        response = tenant.rest.get(EXPLAIN, {"permission": DELETE, "apiKeyId": key_id})
        assert reason(response) == (404, "RESOURCE_NOT_FOUND")
        assert problem(response).resource_type == "plinth.dev/ApiKey"


# Platform administrators ---------------------------------------------------------------------------------------------


@pytest.fixture
def platform_member(tenant: Tenant) -> Account:
    """A platform administrator who is a viewer of the tenant, too."""
    account, _ = new_member(tenant, "viewer")
    make_platform_admin(tenant.stack, account)
    return account


def test_a_platform_administrator_is_told_of_both(tenant: Tenant, platform_member: Account) -> None:
    rest = Rest(tenant.stack, log_in(tenant.stack, platform_member).access_token)
    for whom in ({}, {"userId": platform_member.id}):
        answer = explained(rest, "sites.pages.read", **whom)
        assert answer["grants"] == [
            grant("BUILT_IN_ROLE", "viewer", "sites.*.read"),
            grant("PLATFORM", "platform", "*"),
        ]
        assert answer["considered"] == ["viewer", "platform"]
        assert explained(rest, DELETE, **whom)["grants"] == [grant("PLATFORM", "platform", "*")]


def test_to_a_tenant_a_platform_administrator_is_what_the_membership_says(
    tenant: Tenant, platform_member: Account
) -> None:
    answer = explained(tenant.rest, DELETE, userId=platform_member.id)
    assert (answer["allowed"], answer["considered"]) == (False, ["viewer"])


def test_what_a_platform_administrator_may_is_not_said_of_others(tenant: Tenant, platform_member: Account) -> None:
    rest = Rest(tenant.stack, log_in(tenant.stack, platform_member).access_token)
    account, _ = new_member(tenant, "viewer")
    answer = explained(rest, DELETE, userId=account.id)
    assert (answer["allowed"], answer["considered"]) == (False, ["viewer"])


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permission", ["sites.pages.fly", "sites.*", "tenancy.rate_limits.update"])
def test_a_permission_that_there_is_not_is_refused(tenant: Tenant, permission: str) -> None:
    response = tenant.rest.get(EXPLAIN, {"permission": permission})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"permission"}


def test_a_user_and_an_api_key_at_once_are_refused(tenant: Tenant) -> None:
    both = ExplainAccessRequest(permission=DELETE, user_id=ABSENT, api_key_id=ABSENT)
    assert refused(lambda: tenant.stubs.roles.ExplainAccess(both)).rules == ("explain.one",)


def test_who_is_no_member_is_not_found(tenant: Tenant) -> None:
    stranger, (theirs, _) = sign_up(tenant.stack), new_member(another_tenant(tenant), "owner")
    for user_id in (stranger.id, theirs.id, ABSENT):
        response = tenant.rest.get(EXPLAIN, {"permission": DELETE, "userId": user_id})
        assert reason(response) == (404, "RESOURCE_NOT_FOUND")
        assert problem(response).resource_type == "plinth.dev/User"


def test_who_may_not_ask_is_told(tenant: Tenant) -> None:
    _, session = new_member(tenant, "viewer")
    response = Rest(tenant.stack, session.access_token).get(EXPLAIN, {"permission": DELETE})
    assert problem(response).metadata == {"permission": "tenancy.access.explain"}


def test_of_very_many_roles_some_are_named_and_every_grant_is_told(tenant: Tenant) -> None:
    elsewhere = another_tenant(tenant)
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO roles (tenant_id, id, name, permissions)"
            " SELECT %s, gen_random_uuid(), 'role-' || n, ARRAY[%s] FROM generate_series(1000, 1249) n",
            (elsewhere.id, DELETE),
        )
    account, _ = new_member(elsewhere, "role-1249")
    answer = explained(elsewhere.rest, DELETE, userId=account.id)
    assert answer["grants"] == [grant("CUSTOM_ROLE", "role-1249", DELETE)]
    assert [name for name in answer["rolesThatAllow"] if name.startswith("role-")] == [
        f"role-{number}" for number in range(1000, 1200)
    ]
