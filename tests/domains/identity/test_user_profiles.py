"""Profiles, preferences, acceptances of terms and activity: of oneself, and of others with a permission."""

import pytest

from tests.clients import Rest, Tenant, new_member, new_tenant, problem, reason, rows, unique
from tests.stack import Stack


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("profile", {"displayName": "Ada L.", "phone": "+966501234567", "country": "SA"}),
        ("preferences", {"language": "ar", "timeZone": "Asia/Riyadh", "theme": "THEME_DARK", "settings": {"a": [1]}}),
    ],
)
def test_everybody_has_one_that_others_do_not_see(
    stack: Stack, tenant: Tenant, path: str, body: dict[str, object]
) -> None:
    account, session = new_member(tenant, "viewer")
    own, other = Rest(stack, session.access_token), Rest(stack, new_member(tenant, "editor")[1].access_token)
    address = f"users/{account.id}/{path}"
    unset = own.get(address).json()
    assert (unset["userId"], "createTime" in unset) == (account.id, False)
    changed = own.patch(address, {**body, "etag": unset["etag"]})
    assert changed.status_code == 200, changed.text
    assert changed.json() == changed.json() | body
    assert own.get(address).json() == changed.json()
    assert reason(own.put(address, {**body, "etag": unset["etag"]}))[1] == "ETAG_MISMATCH"
    assert (other.get(address).status_code, other.patch(address, body).status_code) == (404, 404)
    assert tenant.rest.get(address).json() == changed.json()
    elsewhere = new_tenant(stack)
    assert elsewhere.rest.patch(address, body).status_code == 404
    # It goes with the membership.
    table = {"profile": "user_profiles", "preferences": "user_preferences"}[path]
    assert tenant.rest.delete(f"users/{account.id}").status_code == 204
    assert rows(stack, f"SELECT 1 FROM {table} WHERE user_id = %s", account.id) == []


def test_what_is_no_zone_language_or_address_is_refused(tenant: Tenant) -> None:
    address = f"users/{tenant.owner.id}"
    for path, field, value in (
        ("preferences", "timeZone", "Mars/Olympus"),
        ("preferences", "language", "not a language"),
        ("preferences", "currency", "EURO"),
        ("profile", "avatarUrl", "javascript:alert(1)"),
        ("profile", "phone", "12"),
        ("profile", "country", "Saudi"),
    ):
        assert set(problem(tenant.rest.patch(f"{address}/{path}", {field: value})).violations) == {field}


def test_terms_are_accepted_once(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    rest, version = Rest(stack, session.access_token), unique("v")
    body = {"document": "privacy", "documentVersion": version}
    first = rest.post("terms/acceptances", body)
    assert (first.status_code, first.json()["userId"]) == (201, account.id)
    assert reason(rest.post("terms/acceptances", body)) == (409, "RESOURCE_TAKEN")
    assert rest.post("terms/acceptances", {**body, "document": "imprint"}).status_code == 201
    assert tenant.rest.post("terms/acceptances", body).status_code == 201
    mine = rest.get("terms/acceptances", params={"filter": 'document = "privacy"'}).json()["termsAcceptances"]
    assert [one["id"] for one in mine] == [first.json()["id"]]
    assert rest.get("terms/acceptances", params={"userId": "-"}).status_code == 403
    every = tenant.rest.get("terms/acceptances", params={"userId": account.id}).json()["termsAcceptances"]
    assert {one["document"] for one in every} == {"privacy", "imprint"}


def test_somebody_sees_what_they_did_and_others_need_a_permission(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "editor")
    own, viewer = Rest(stack, session.access_token), Rest(stack, new_member(tenant, "viewer")[1].access_token)
    slug = unique("p")
    assert own.post(f"{tenant.path}/pages", {"title": "A", "slug": slug}).status_code == 201
    assert own.patch(f"users/{account.id}/profile", {"bio": "x"}).status_code == 200
    assert tenant.rest.post(f"{tenant.path}/pages", {"title": "B", "slug": unique("p")}).status_code == 201
    address = f"users/{account.id}/activity"
    found = own.get(address).json()["auditEntries"]
    assert [one["action"] for one in found] == ["user_profile.updated", "page.created", "session.started"]
    assert {one["actorId"] for one in found} == {account.id}
    assert tenant.rest.get(address).json()["auditEntries"] == found
    assert viewer.get(address).status_code == 403
    only = own.get(address, params={"filter": 'action = "page.created"', "includeTotal": "true"}).json()
    assert (only["totalSize"], only["auditEntries"]) == (1, found[1:2])
    page = own.get(address, params={"pageSize": "1"}).json()
    rest = own.get(address, params={"pageSize": "1", "pageToken": page["nextPageToken"]}).json()
    assert page["auditEntries"] + rest["auditEntries"] == found[:2]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('action = "a") OR (action = "b"', 400),
        ('action = "a" OR actor_id = "OTHER"', 200),
        (")", 400),
        ("(", 400),
        ('action = "a")', 400),
    ],
)
def test_no_filter_leads_out_of_one_s_own_activity(stack: Stack, tenant: Tenant, text: str, status: int) -> None:
    account, session = new_member(tenant, "viewer")
    own = Rest(stack, session.access_token)
    answer = own.get(f"users/{account.id}/activity", params={"filter": text.replace("OTHER", tenant.owner.id)})
    assert answer.status_code == status
    assert answer.json().get("auditEntries", []) == []
