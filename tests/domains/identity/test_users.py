"""Users: the members of a tenant and those it has invited, and every account for the platform."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients import (
    Account,
    Rest,
    Tenant,
    log_in,
    new_address,
    new_member,
    new_password,
    new_tenant,
    problem,
    reason,
    rows,
    sign_up,
)
from tests.domains.identity.letters import INVITATION, VERIFY, letters, token_from, wait_for_letter
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

TAKEN, FORBIDDEN = (409, "RESOURCE_TAKEN"), (409, "STATE_FORBIDS")


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture(scope="module")
def platform(stack: Stack) -> Rest:
    return Rest(stack, new_platform_admin(stack).access_token)


def add(tenant: Tenant, **facts: Any) -> dict[str, Any]:
    """Add somebody to a tenant."""
    answer = tenant.rest.post("users", {"email": new_address(), **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def accept(stack: Stack, email: str, **facts: Any) -> dict[str, Any]:
    """Accept the newest invitation of an address."""
    body = {"token": token_from(stack, email, INVITATION), **facts}
    answer = Rest(stack).post("employees/accept-invitation", body)
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()["user"]
    return user


def everyone(rest: Rest, path: str = "users", **parameters: str) -> list[dict[str, Any]]:
    """All users that a caller sees."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = rest.get(path, params={"pageSize": "3", "pageToken": token, **parameters}).json()
        found += page["users"]
        token = page["nextPageToken"]
        if not token:
            return found


def test_who_is_added_is_shown_as_invited_and_keeps_the_id(stack: Stack, tenant: Tenant) -> None:
    email = new_address()
    invited = add(tenant, email=email, firstName="Ada", lastName="Lovelace", roles=["editor"])
    assert (invited["state"], invited["roles"], invited["firstName"]) == ("STATE_INVITED", ["editor"], "Ada")
    assert tenant.rest.get(f"users/{invited['id']}").json() == invited
    user = accept(stack, email, password=new_password(), lastName="King")
    assert (user["id"], user["firstName"], user["lastName"]) == (invited["id"], "Ada", "King")
    member = tenant.rest.get(f"users/{user['id']}").json()
    assert (member["state"], member["roles"], member["email"]) == ("STATE_ACTIVE", ["editor"], email)
    assert member["etag"] != invited["etag"]
    assert [one["id"] for one in everyone(tenant.rest)].count(user["id"]) == 1


def test_an_address_with_an_account_gets_the_same_answer(stack: Stack, tenant: Tenant) -> None:
    known = sign_up(stack, firstName="Grace")
    token = token_from(stack, known.email, VERIFY)
    assert Rest(stack).post("auth/verify-email", {"token": token}).status_code == 200
    unknown = add(tenant, firstName="Ada")
    answer = add(tenant, email=known.email, firstName="Ada")
    vary = {"id", "email", "createTime", "updateTime", "etag"}
    assert {k: v for k, v in answer.items() if k not in vary} == {k: v for k, v in unknown.items() if k not in vary}
    # Until they accept, nothing of the account is seen, and they are no member.
    assert answer["id"] != known.id
    assert tenant.rest.get(f"users/{known.id}").status_code == 404
    assert accept(stack, known.email)["id"] == known.id
    assert tenant.rest.get(f"users/{known.id}").json()["firstName"] == "Grace"
    assert tenant.rest.get(f"users/{answer['id']}").status_code == 404


def test_an_address_is_added_once(stack: Stack, tenant: Tenant) -> None:
    email = new_address()
    add(tenant, email=email)
    assert reason(tenant.rest.post("users", {"email": email.upper()})) == TAKEN
    member = new_member(tenant, "viewer")[0]
    assert reason(tenant.rest.post("users", {"email": member.email.upper()})) == TAKEN
    assert set(problem(tenant.rest.post("users", {"email": "nobody"})).violations) == {"email"}
    assert wait_for_letter(stack, email, INVITATION) == letters(stack, email, INVITATION)[0]
    assert len(letters(stack, email, INVITATION)) == 1


def test_lists_show_members_and_invited_people_newest_first(stack: Stack) -> None:
    tenant = new_tenant(stack)
    members = [new_member(tenant, "viewer")[0].id for _ in range(3)]
    invited = [add(tenant)["id"] for _ in range(3)]
    found = everyone(tenant.rest)
    assert [one["id"] for one in found] == [*reversed(invited), *reversed(members), tenant.owner.id]
    assert [one["id"] for one in everyone(tenant.rest, orderBy="create_time")] == [tenant.owner.id, *members, *invited]
    assert everyone(tenant.rest, f"tenants/{tenant.id}/users") == found
    assert everyone(tenant.rest, "admin/users") == found
    only = everyone(tenant.rest, filter=f'email = "{found[0]["email"]}"')
    assert [one["id"] for one in only] == [invited[-1]]
    assert tenant.rest.get("users", params={"includeTotal": "true"}).json()["totalSize"] == 7


def test_roles_change_at_once(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "viewer")
    rest = Rest(stack, session.access_token)
    body = {"title": "A", "slug": new_password().lower().replace("!", "")}
    assert rest.post(f"{tenant.path}/pages", body).status_code == 403
    before = tenant.rest.get(f"users/{account.id}").json()
    answer = tenant.rest.patch(f"users/{account.id}", {"roles": ["viewer", "editor"], "etag": before["etag"]})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["roles"]) == {"viewer", "editor"}
    assert rest.post(f"{tenant.path}/pages", body).status_code != 403
    stale = tenant.rest.patch(f"users/{account.id}", {"roles": [], "etag": before["etag"]})
    assert reason(stale)[1] == "ETAG_MISMATCH"
    same = tenant.rest.put(f"users/{account.id}", {"roles": answer.json()["roles"]})
    assert same.json()["etag"] == answer.json()["etag"]
    unknown = tenant.rest.patch(f"users/{account.id}", {"roles": ["viewer", "boss"]})
    assert set(problem(unknown).violations) == {"roles[1]"}


def test_names_are_of_who_has_them(tenant: Tenant, platform: Rest) -> None:
    invited = add(tenant, firstName="Adda")
    renamed = tenant.rest.patch(f"users/{invited['id']}", {"firstName": "Ada"}).json()
    assert (renamed["firstName"], renamed["roles"]) == ("Ada", ["member"])
    member = new_member(tenant, "viewer")[0]
    refused = tenant.rest.patch(f"users/{member.id}", {"firstName": "Eve"})
    assert reason(refused) == FORBIDDEN
    assert platform.put(f"admin/users/{member.id}", {"firstName": "Eve"}).json()["firstName"] == "Eve"
    assert tenant.rest.get(f"users/{member.id}").json()["firstName"] == "Eve"
    assert reason(platform.put(f"admin/users/{member.id}", {"roles": ["owner"]})) == FORBIDDEN
    made = tenant.rest.post("users", {"email": new_address(), "state": "STATE_ACTIVE"})
    assert set(problem(made).violations) == {"state"}
    for body, field in (({"email": new_address()}, "email"), ({"state": "STATE_ACTIVE"}, "state")):
        assert set(problem(tenant.rest.patch(f"users/{invited['id']}", body)).violations) == {field}


def test_nobody_gives_or_takes_more_than_they_hold(stack: Stack, tenant: Tenant) -> None:
    permissions = ["identity.users.create", "identity.users.update", "identity.users.delete", "identity.users.read"]
    assert tenant.rest.post("rbac/roles", {"name": "clerk", "permissions": permissions}).status_code == 201
    clerk = Rest(stack, new_member(tenant, "clerk")[1].access_token)
    admin, member = new_member(tenant, "admin")[0], new_member(tenant)[0]
    refused = (
        clerk.post("users", {"email": new_address(), "roles": ["admin"]}),
        clerk.patch(f"users/{member.id}", {"roles": ["owner"]}),
        clerk.patch(f"users/{admin.id}", {"roles": []}),
        clerk.delete(f"users/{admin.id}"),
        clerk.patch(f"users/{add(tenant, roles=['admin'])['id']}", {"roles": []}),
    )
    assert [reason(each) for each in refused] == [(403, "GRANT_EXCEEDS_OWN")] * 5
    assert clerk.patch(f"users/{member.id}", {"roles": ["clerk"]}).status_code == 200
    assert clerk.delete(f"users/{member.id}").status_code == 204
    viewer = Rest(stack, new_member(tenant, "viewer")[1].access_token)
    assert [viewer.get("users").status_code, viewer.get(f"users/{admin.id}").status_code] == [403, 403]


def test_who_is_removed_has_no_access_any_more(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "editor")
    rest = Rest(stack, session.access_token)
    assert rest.get(f"{tenant.path}/pages").status_code == 200
    etag = tenant.rest.get(f"users/{account.id}").json()["etag"]
    assert tenant.rest.delete(f"users/{account.id}", headers={"if-match": 'W/"other"'}).status_code == 412
    assert tenant.rest.delete(f"users/{account.id}", headers={"if-match": etag}).status_code == 204
    assert rest.get(f"{tenant.path}/pages").status_code in {403, 404}
    assert tenant.rest.get(f"users/{account.id}").status_code == 404
    assert tenant.rest.delete(f"users/{account.id}").status_code == 404
    # The account is theirs.
    assert log_in(stack, account).tenant_id == ""


def test_the_last_owner_stays(tenant: Tenant) -> None:
    owner = f"users/{tenant.owner.id}"
    for answer in (tenant.rest.delete(owner), tenant.rest.patch(owner, {"roles": ["admin"]})):
        assert reason(answer) == FORBIDDEN


def test_two_owners_who_remove_each_other_leave_one(stack: Stack) -> None:
    tenant = new_tenant(stack)
    other, session = new_member(tenant, "owner")
    calls = ((tenant.rest, other.id), (Rest(stack, session.access_token), tenant.owner.id))
    with ThreadPoolExecutor(2) as threads:
        statuses = [answer.status_code for answer in threads.map(lambda c: c[0].delete(f"users/{c[1]}"), calls)]
    assert statuses.count(204) == 1
    assert len(rows(stack, "SELECT user_id FROM memberships WHERE tenant_id = %s", tenant.id)) == 1


def test_an_invitation_is_cancelled_by_removing_the_user(stack: Stack, tenant: Tenant) -> None:
    invited = add(tenant)
    token = token_from(stack, invited["email"], INVITATION)
    assert tenant.rest.delete(f"users/{invited['id']}").status_code == 204
    assert tenant.rest.get(f"users/{invited['id']}").status_code == 404
    answer = Rest(stack).post("employees/accept-invitation", {"token": token, "password": new_password()})
    assert problem(answer).rules == ("token.invalid",)


def test_the_platform_sees_every_account_and_one_tenant_if_it_names_it(
    stack: Stack, tenant: Tenant, platform: Rest
) -> None:
    stranger = sign_up(stack)
    found = platform.get("admin/users", params={"filter": f'email = "{stranger.email}"'}).json()["users"]
    assert [(one["id"], one["state"], one["roles"]) for one in found] == [(stranger.id, "STATE_ACTIVE", [])]
    assert platform.get(f"users/{stranger.id}").json() == found[0]
    invited = add(tenant)
    assert platform.get(f"users/{invited['id']}").status_code == 404
    assert platform.get(f"tenants/{tenant.id}/users/{invited['id']}").json()["state"] == "STATE_INVITED"
    assert everyone(platform, f"tenants/{tenant.id}/users") == everyone(tenant.rest)


def test_a_deleted_account_signs_in_no_more_until_it_is_restored(stack: Stack, tenant: Tenant, platform: Rest) -> None:
    account, session = new_member(tenant, "editor")
    rest = Rest(stack, session.access_token)
    assert platform.delete(f"admin/users/{account.id}").status_code == 204
    assert rest.get("auth/me").status_code == 401
    body = {"email": account.email, "password": account.password}
    assert Rest(stack).post("auth/login", body).status_code == 401
    assert tenant.rest.get(f"users/{account.id}").status_code == 404
    assert platform.get(f"users/{account.id}").status_code == 404
    listed = {"filter": f'email = "{account.email}"', "showDeleted": "true"}
    assert [one["state"] for one in platform.get("users", params=listed).json()["users"]] == ["STATE_DELETED"]
    restored = platform.post(f"admin/users/{account.id}/undelete", {})
    assert (restored.status_code, restored.json()["state"]) == (200, "STATE_ACTIVE")
    assert log_in(stack, account, tenant.subdomain).roles == ("editor",)
    assert platform.post(f"admin/users/{account.id}/undelete", {}).status_code == 404
    assert tenant.rest.post(f"admin/users/{account.id}/undelete", {}).status_code == 403


def test_an_account_is_restored_only_if_its_address_is_free(stack: Stack, platform: Rest) -> None:
    account = sign_up(stack)
    assert platform.delete(f"users/{account.id}").status_code == 204
    again = sign_up(stack, email=account.email)
    assert again.id != account.id
    answer = platform.post(f"admin/users/{account.id}/undelete", {})
    assert reason(answer) == TAKEN


def test_the_platform_removes_no_last_owner(stack: Stack, platform: Rest) -> None:
    tenant = new_tenant(stack)
    assert reason(platform.delete(f"users/{tenant.owner.id}")) == FORBIDDEN
    assert tenant.rest.delete(tenant.path).status_code == 204
    assert platform.delete(f"users/{tenant.owner.id}").status_code == 204


def test_an_administrator_of_a_tenant_does_not_reach_the_platform(stack: Stack, tenant: Tenant) -> None:
    stranger: Account = sign_up(stack)
    for path in (f"users/{stranger.id}", f"admin/users/{stranger.id}"):
        assert tenant.rest.get(path).status_code == 404
        assert tenant.rest.delete(path).status_code == 404
        assert tenant.rest.put(path, {"roles": ["viewer"]}).status_code == 404
    other = new_tenant(stack)
    assert tenant.rest.get(f"tenants/{other.id}/users").status_code == 404
