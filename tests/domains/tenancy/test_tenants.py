"""Tenants: born whole, renamed whole, and gone at once."""

from typing import Any

import grpc
import pytest
from plinth.tenancy.v1.tenant_pb2 import CreateTenantRequest, ListTenantsRequest

from server.domains.tenancy.branding import DEFAULTS
from tests.clients import (
    Account,
    Rest,
    Session,
    Stubs,
    Tenant,
    another_tenant,
    log_in,
    new_tenant,
    problem,
    reason,
    refused,
    rows,
    sign_up,
    stubs,
    switch_tenant,
    unique,
)
from tests.domains.events import events_of
from tests.stack import Stack


def count_of(stack: Stack, tenant_id: str) -> dict[str, int]:
    """How many rows stand under a tenant."""
    tables = ("memberships", "brandings", "domains", "pages")
    return {
        table: rows(stack, f"SELECT count(*) FROM {table} WHERE tenant_id = %s", tenant_id)[0]["count"]
        for table in tables
    }


def test_a_tenant_is_born_with_owner_branding_and_domain_in_one_transaction(stack: Stack, tenant: Tenant) -> None:
    [born] = rows(stack, "SELECT *, xmin::text FROM tenants WHERE id = %s", tenant.id)
    [member] = rows(stack, "SELECT *, user_id::text, xmin::text FROM memberships WHERE tenant_id = %s", tenant.id)
    [branding] = rows(stack, "SELECT *, xmin::text FROM brandings WHERE tenant_id = %s", tenant.id)
    [domain] = rows(stack, "SELECT *, xmin::text FROM domains WHERE tenant_id = %s", tenant.id)
    [event] = rows(
        stack,
        "SELECT transaction_id::text AS xmin FROM events WHERE tenant_id = %s AND type = 'tenant.created'",
        tenant.id,
    )
    assert (member["user_id"], member["roles"]) == (tenant.owner.id, ["owner"])
    assert {name: branding[name] for name in DEFAULTS} == DEFAULTS
    assert domain["hostname"] == f"{tenant.subdomain}.localhost"
    assert {row["xmin"] for row in (born, member, branding, domain, event)} == {born["xmin"]}


def test_a_token_without_a_tenant_works_in_the_new_one_at_once(stack: Stack, account: Account) -> None:
    rest = Rest(stack, log_in(stack, sign_up(stack)).access_token)
    response = rest.post("tenants", {"subdomain": unique("t"), "name": "Mine", "settings": {"a": 1}})
    assert response.status_code == 201
    body = response.json()
    assert response.headers["location"] == f"/api/v1/tenants/{body['id']}"
    assert rest.get(response.headers["location"]).json() == body
    assert (body["status"], body["settings"], body["signUpOpen"]) == ("STATUS_ACTIVE", {"a": 1}, False)
    assert rest.get(f"tenants/{body['id']}/pages").json()["pages"] == []
    stranger = Rest(stack, log_in(stack, account).access_token)
    assert reason(stranger.get(f"tenants/{body['id']}")) == (404, "RESOURCE_NOT_FOUND")


def test_a_taken_subdomain_leaves_nothing_behind(stack: Stack, tenant: Tenant) -> None:
    other = sign_up(stack)
    rest = Rest(stack, log_in(stack, other).access_token)
    response = rest.post("tenants", {"subdomain": tenant.subdomain, "name": "Theirs"})
    assert reason(response) == (409, "RESOURCE_TAKEN")
    assert problem(response).metadata == {"field": "subdomain", "resource_type": "plinth.dev/Tenant"}
    assert rows(stack, "SELECT FROM memberships WHERE user_id = %s", other.id) == []
    assert rest.get("tenants").json()["tenants"] == []
    assert rows(stack, "SELECT FROM events WHERE actor_id = %s AND type = 'tenant.created'", other.id) == []
    assert len(rows(stack, "SELECT FROM domains WHERE hostname = %s", f"{tenant.subdomain}.localhost")) == 1


def test_of_parallel_creations_with_one_subdomain_one_succeeds(first_tenant: Tenant) -> None:
    request = CreateTenantRequest(tenant={"subdomain": unique("race"), "name": "Race"})
    create = first_tenant.stubs.tenants.CreateTenant
    codes = [call.code() for call in [create.future(request) for _ in range(6)]]
    assert sorted(code.name for code in codes) == ["ALREADY_EXISTS"] * 5 + ["OK"]


@pytest.mark.parametrize(
    ("subdomain", "rule"),
    [
        ("www", "tenant.subdomain.reserved"),
        ("api", "tenant.subdomain.reserved"),
        ("admin", "tenant.subdomain.reserved"),
        ("ab", "string.min_len"),
        ("a" * 64, "string.max_len"),
        ("-abc", "string.pattern"),
        ("abc-", "string.pattern"),
        ("Abc", "string.pattern"),
        ("a.bc", "string.pattern"),
        ("äbc", "string.pattern"),
        ("", "required"),
    ],
)
def test_a_subdomain_keeps_the_rules_when_created_and_when_changed(
    first_tenant: Tenant, subdomain: str, rule: str
) -> None:
    for response in (
        first_tenant.rest.post("tenants", {"subdomain": subdomain, "name": "X"}),
        first_tenant.rest.patch(first_tenant.path, {"subdomain": subdomain}),
    ):
        assert reason(response) == (422, "RULE_VIOLATED")
        assert set(problem(response).violations) == {"subdomain"}
        assert problem(response).rules == (rule,)


def test_a_name_is_required(first_tenant: Tenant) -> None:
    response = first_tenant.rest.post("tenants", {})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"subdomain", "name"}


def test_a_changed_subdomain_moves_the_domain(stack: Stack, tenant: Tenant) -> None:
    subdomain = unique("moved")
    response = tenant.rest.patch(tenant.path, {"subdomain": subdomain})
    assert (response.status_code, response.json()["subdomain"]) == (200, subdomain)
    [domain] = rows(stack, "SELECT hostname FROM domains WHERE tenant_id = %s", tenant.id)
    assert domain["hostname"] == f"{subdomain}.localhost"
    # The old one is free.
    assert another_tenant(tenant, subdomain=tenant.subdomain).subdomain == tenant.subdomain


def test_a_subdomain_cannot_be_changed_to_a_taken_one(stack: Stack, tenant: Tenant, first_tenant: Tenant) -> None:
    response = tenant.rest.patch(tenant.path, {"subdomain": first_tenant.subdomain, "name": "Changed"})
    assert reason(response) == (409, "RESOURCE_TAKEN")
    assert tenant.rest.get(tenant.path).json()["name"] == "Acme"
    [domain] = rows(stack, "SELECT hostname FROM domains WHERE tenant_id = %s", tenant.id)
    assert domain["hostname"] == f"{tenant.subdomain}.localhost"


def test_what_is_not_named_stays(tenant: Tenant) -> None:
    before = tenant.rest.get(tenant.path).json()
    after = tenant.rest.put(tenant.path, {"signUpOpen": True, "status": "STATUS_ACTIVE"}).json()
    assert after["signUpOpen"] is True
    same = ("id", "subdomain", "name", "status", "signUpConflictVisible", "createTime")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["etag"] != before["etag"]
    stale = tenant.rest.patch(tenant.path, {"name": "Mine"}, headers={"if-match": before["etag"]})
    assert reason(stale) == (412, "ETAG_MISMATCH")


def test_a_list_shows_ones_own_tenants_newest_first(stack: Stack) -> None:
    first = new_tenant(stack)
    second = new_tenant(stack, first.owner)
    new_tenant(stack)
    rest = second.rest
    assert [one["id"] for one in rest.get("tenants").json()["tenants"]] == [second.id, first.id]
    page = rest.get("tenants", {"pageSize": 1, "includeTotal": "true"}).json()
    assert (page["totalSize"], len(page["tenants"])) == (2, 1)
    rest_of_it = rest.get("tenants", {"pageSize": 1, "pageToken": page["nextPageToken"]}).json()
    assert [one["id"] for one in rest_of_it["tenants"]] == [first.id]
    by_name = second.stubs.tenants.ListTenants(ListTenantsRequest(filter=f"subdomain = {first.subdomain}"))
    assert [one.id for one in by_name.tenants] == [first.id]


def test_another_tenant_is_not_found_whatever_is_asked(tenant: Tenant, stack: Stack) -> None:
    foreign = new_tenant(stack)
    # Even one's own, with a token that carries another.
    for path in (foreign.path, another_tenant(tenant).path, "/api/v1/tenants/01890000-0000-7000-8000-000000000000"):
        for response in (
            tenant.rest.get(path),
            tenant.rest.patch(path, {"name": "Mine"}),
            tenant.rest.delete(path),
            tenant.rest.get(f"{path}/branding"),
            tenant.rest.get(f"{path}/pages"),
            tenant.rest.post(f"{path}/pages", {"slug": "theirs"}),
        ):
            assert reason(response) == (404, "RESOURCE_NOT_FOUND")
            assert problem(response).resource_type == "plinth.dev/Tenant"
    assert foreign.rest.get(foreign.path).json()["name"] == "Acme"


# Deletion ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def doomed(stack: Stack) -> Tenant:
    """A tenant with a page, deleted by its only owner."""
    tenant = new_tenant(stack)
    assert tenant.rest.post(f"{tenant.path}/pages", {"slug": "home"}).status_code == 201
    assert tenant.rest.get(f"{tenant.path}/pages").status_code == 200
    response = tenant.rest.delete(tenant.path)
    assert (response.status_code, response.content) == (204, b"")
    return tenant


def test_a_deleted_tenant_is_out_of_reach_at_once_for_tokens_that_carry_it(doomed: Tenant) -> None:
    rest = doomed.rest
    responses = [
        rest.get(doomed.path),
        rest.get(f"{doomed.path}/pages"),
        rest.get(f"{doomed.path}/pages/slug/home"),
        rest.post(f"{doomed.path}/pages", {"slug": "more"}),
        rest.patch(f"{doomed.path}/branding", {"bodyFont": "Arial"}),
        rest.delete(doomed.path),
    ]
    assert [reason(response) for response in responses] == [(404, "RESOURCE_NOT_FOUND")] * len(responses)
    assert count_of(doomed.stack, doomed.id)["pages"] == 1


def test_a_deleted_tenant_is_out_of_reach_for_tokens_without_a_tenant(stack: Stack, doomed: Tenant) -> None:
    session = log_in(stack, doomed.owner)
    assert (session.tenant_id, session.roles) == ("", ())
    rest = Rest(stack, session.access_token)
    assert reason(rest.get(f"{doomed.path}/pages")) == (404, "RESOURCE_NOT_FOUND")
    assert reason(rest.post("auth/switch-tenant", {"tenantId": doomed.id})) == (404, "RESOURCE_NOT_FOUND")
    assert rest.get("tenants").json()["tenants"] == []
    assert rest.get("auth/me").json()["memberships"] == []


def test_whose_tenant_was_deleted_is_still_signed_in(doomed: Tenant) -> None:
    """The session is the user's, not the tenant's: what needs no tenant goes on."""
    rest = doomed.rest
    assert rest.get("auth/me").status_code == 200
    assert rest.get("tenants").status_code == 200
    made = rest.post("tenants", {"subdomain": unique("next"), "name": "Next"})
    assert made.status_code == 201
    assert switch_tenant(doomed.stack, doomed.session, made.json()["id"]).roles == ("owner",)
    assert rest.post("auth/logout").is_success


def test_a_refresh_leaves_a_deleted_tenant(doomed: Tenant) -> None:
    session = Session.of(doomed.rest.post("auth/refresh", {"refreshToken": doomed.refresh_token}))
    assert (session.tenant_id, session.roles) == ("", ())


def test_a_deleted_tenants_subdomain_and_domain_are_free(stack: Stack, doomed: Tenant) -> None:
    assert rows(stack, "SELECT FROM domains WHERE tenant_id = %s", doomed.id) == []
    heir = new_tenant(stack, subdomain=doomed.subdomain)
    assert heir.id != doomed.id
    assert len(rows(stack, "SELECT FROM domains WHERE hostname = %s", f"{doomed.subdomain}.localhost")) == 1


def test_a_stale_etag_deletes_nothing(tenant: Tenant) -> None:
    before = tenant.rest.get(tenant.path).json()
    tenant.rest.patch(tenant.path, {"name": "Changed"})
    response = tenant.rest.delete(tenant.path, headers={"if-match": before["etag"]})
    assert reason(response) == (412, "ETAG_MISMATCH")
    assert tenant.rest.get(tenant.path).status_code == 200


# Events --------------------------------------------------------------------------------------------------------------


def test_each_mutation_leaves_its_event_and_a_refused_one_none(stack: Stack) -> None:
    tenant = new_tenant(stack)
    tenant.rest.patch(tenant.path, {"name": "Changed"})
    tenant.rest.patch(tenant.path, {"subdomain": "www"})
    tenant.rest.patch(tenant.path, {"name": "Never"}, headers={"if-match": '"stale"'})
    tenant.rest.delete(tenant.path)
    events = [event for event in events_of(stack, tenant.id) if event.type.startswith("tenant.")]
    assert [event.type for event in events] == ["tenant.created", "tenant.updated", "tenant.deleted"]
    assert [event.payload.name for event in events] == ["Acme", "Changed", "Changed"]
    assert {(event.resource_id, event.actor_id) for event in events} == {(tenant.id, tenant.owner.id)}


def test_nobody_lists_or_creates_tenants_without_credentials(stack: Stack) -> None:
    stranger: Stubs = stubs(stack)
    calls: list[Any] = [
        lambda: stranger.tenants.ListTenants(ListTenantsRequest()),
        lambda: stranger.tenants.CreateTenant(CreateTenantRequest(tenant={"subdomain": unique("t"), "name": "X"})),
    ]
    for call in calls:
        why = refused(call)
        assert (why.code, why.reason) == (grpc.StatusCode.UNAUTHENTICATED.value[0], "CREDENTIALS_MISSING")
