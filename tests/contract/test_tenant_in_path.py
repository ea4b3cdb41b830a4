"""A tenant in a path is named by its id or by its subdomain, in every RPC."""

from typing import Any

import pytest

from server import app
from server.kernel.policy import Access, Binding, MethodPolicy
from tests.clients import Rest, Tenant, new_tenant, reason, sign_up, unique
from tests.contract import doors, wall
from tests.contract.wall import House
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

IN_PATH = [
    (method, binding)
    for method in app.policies().values()
    for binding in method.bindings
    if "{tenant_id}" in binding.path and not method.streaming
]
READS = [(method, binding) for method, binding in IN_PATH if method.read_only]


def name_of(thing: object) -> str:
    return thing.name if isinstance(thing, MethodPolicy) else ""


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def platform(stack: Stack) -> str:
    return new_platform_admin(stack).access_token


@pytest.fixture(scope="module")
def other(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.mark.parametrize(("method", "binding"), READS, ids=name_of)
def test_both_names_of_a_tenant_get_the_same_answer(
    stack: Stack, house: House, platform: str, method: MethodPolicy, binding: Binding
) -> None:
    is_platform = method.access is Access.PLATFORM
    rest = Rest(stack, platform if is_platform else house.tenant.access_token)
    named: Any = house.request(method)
    by_id = doors.over_rest(rest, binding, named)
    assert by_id.problem is None
    named.tenant_id = house.tenant.subdomain
    by_subdomain = doors.over_rest(rest, binding, named)
    assert by_subdomain.problem is None
    assert by_subdomain.http_status == by_id.http_status


@pytest.mark.parametrize(("method", "binding"), IN_PATH, ids=name_of)
def test_the_subdomain_of_another_tenant_is_as_absent_as_one_that_nobody_has(
    stack: Stack, house: House, other: Tenant, method: MethodPolicy, binding: Binding
) -> None:
    rest = Rest(stack, house.tenant.access_token)
    told = []
    for subdomain in (other.subdomain, unique("nowhere")):
        request: Any = house.request(method)
        request.tenant_id = subdomain
        outcome = doors.over_rest(rest, binding, request)
        assert outcome.problem is not None
        told.append((outcome.http_status, outcome.problem.reason, outcome.problem.message))
    assert told[0] == told[1]
    assert told[0][0] == (403 if method.access is Access.PLATFORM else 404)


def test_every_kind_of_caller_names_a_tenant_by_its_subdomain(stack: Stack, house: House, platform: str) -> None:
    tenant = house.tenant
    body = {"name": unique("key"), "permissions": ["sites.pages.read"]}
    key = tenant.rest.post(f"tenants/{tenant.subdomain}/api-keys", body)
    assert key.status_code == 201, key.text
    for token in (key.json()["key"], platform, tenant.access_token):
        pages = Rest(stack, token).get(f"tenants/{tenant.subdomain}/pages")
        assert pages.status_code == 200, pages.text
        assert {page["tenantId"] for page in pages.json()["pages"]} == {tenant.id}


def test_a_session_without_a_tenant_reaches_one_by_its_subdomain(stack: Stack) -> None:
    account = sign_up(stack)
    token = Rest(stack).post("auth/login", {"email": account.email, "password": account.password}).json()["accessToken"]
    rest, subdomain = Rest(stack, token), unique("t")
    assert rest.post("tenants", {"subdomain": subdomain, "name": "Mine"}).status_code == 201
    assert rest.get(f"tenants/{subdomain}/pages").status_code == 200
    assert rest.get(f"tenants/{subdomain}").json()["subdomain"] == subdomain


def test_a_new_subdomain_counts_at_once_and_the_former_one_does_so_no_longer(stack: Stack) -> None:
    tenant, new = new_tenant(stack), unique("t")
    assert tenant.rest.get(f"tenants/{tenant.subdomain}").status_code == 200
    assert tenant.rest.patch(f"tenants/{tenant.subdomain}", {"subdomain": new}).status_code == 200
    assert tenant.rest.get(f"tenants/{new}").json()["id"] == tenant.id
    other = new_tenant(stack)
    taken = other.rest.patch(f"tenants/{other.id}", {"subdomain": tenant.subdomain})
    assert taken.status_code == 200, taken.text
    assert tenant.rest.get(f"tenants/{tenant.subdomain}").status_code == 404
    assert other.rest.get(f"tenants/{tenant.subdomain}").json()["id"] == other.id


def test_a_repeated_write_is_the_same_by_either_name(stack: Stack) -> None:
    tenant = new_tenant(stack)
    headers, body = {"idempotency-key": unique("key")}, {"title": "Once"}
    made = [
        tenant.rest.request("POST", f"tenants/{name}/pages", headers=headers, json=body)
        for name in (tenant.id, tenant.subdomain, tenant.id.upper())
    ]
    assert {one.json()["id"] for one in made[:2]} == {made[0].json()["id"]}


def test_no_subdomain_looks_like_an_id(stack: Stack) -> None:
    tenant = new_tenant(stack)
    refused = tenant.rest.patch(f"tenants/{tenant.id}", {"subdomain": new_tenant(stack).id})
    assert refused.status_code == 422


@pytest.mark.parametrize("name", ["A_b", "x", "-acme", "acme-", "x" * 64, "acme.example"])
def test_what_is_neither_id_nor_subdomain_is_no_tenant(stack: Stack, house: House, platform: str, name: str) -> None:
    assert reason(house.tenant.rest.get(f"tenants/{name}/pages")) == (404, "RESOURCE_NOT_FOUND")
    assert reason(Rest(stack, platform).get(f"admin/tenants/{name}/rate-limits")) == (422, "RULE_VIOLATED")
