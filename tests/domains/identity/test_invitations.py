"""Inviting people into a tenant by mail, and accepting."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients import (
    Account,
    Rest,
    Tenant,
    database,
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
from tests.stack import Stack

PATH = "/api/v1/employees/invitations"


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def invite(tenant: Tenant, email: str, **facts: Any) -> dict[str, Any]:
    """Invite somebody."""
    answer = tenant.rest.post("/api/v1/employees/invite", {"email": email, **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def verified(stack: Stack) -> Account:
    """Somebody whose address is verified."""
    account = sign_up(stack)
    token = token_from(stack, account.email, VERIFY)
    assert Rest(stack).post("auth/verify-email", {"token": token}).status_code == 200
    return account


def test_somebody_new_gets_an_account_and_the_roles(stack: Stack, tenant: Tenant) -> None:
    email, password = new_address(), new_password()
    invitation = invite(tenant, email, roles=["editor", "viewer"], message="See you on Monday!")
    assert invitation["inviteUserId"] == tenant.owner.id
    assert "See you on Monday!" in wait_for_letter(stack, email, INVITATION)
    token = token_from(stack, email, INVITATION)
    rest = Rest(stack)
    preview = rest.get(f"employees/validate-invitation/{token}").json()
    assert preview["tenantName"] == "Acme"
    assert (preview["email"], preview["roles"], preview["hasAccount"]) == (email, ["editor", "viewer"], False)
    body = {"token": token, "password": password, "firstName": "Ada", "lastName": "Lovelace"}
    accepted = rest.post("employees/accept-invitation", body)
    assert accepted.status_code == 201, accepted.text
    user = accepted.json()["user"]
    assert (user["firstName"], "emailVerifyTime" in user) == ("Ada", True)
    session = log_in(stack, Account(email, password, user["id"]), accepted.json()["subdomain"])
    assert (session.tenant_id, set(session.roles)) == (tenant.id, {"editor", "viewer"})
    read = tenant.rest.get(f"{PATH}/{invitation['id']}").json()
    assert read["acceptUserId"] == user["id"]
    assert "acceptTime" in read
    for answer in (rest.post("employees/register", body), rest.get(f"employees/validate-invitation/{token}")):
        assert problem(answer).rules == ("token.invalid",)


def test_somebody_known_keeps_the_account(stack: Stack, tenant: Tenant) -> None:
    account = verified(stack)
    invite(tenant, account.email.upper())
    token = token_from(stack, account.email, INVITATION)
    assert Rest(stack).get(f"employees/validate-invitation/{token}").json()["hasAccount"]
    accepted = Rest(stack).post("employees/accept-invitation", {"token": token, "password": new_password()})
    assert accepted.status_code == 201, accepted.text
    assert accepted.json()["user"]["id"] == account.id
    assert log_in(stack, account, tenant.subdomain).roles == ("employee",)


def test_who_signed_up_with_the_address_of_another_gets_nothing(stack: Stack, tenant: Tenant) -> None:
    """Somebody waits with a password of their own for the owner of the address to be invited."""
    squatter = sign_up(stack, firstName="Mallory")
    session = log_in(stack, squatter)
    invite(tenant, squatter.email, roles=["admin"])
    token, password = token_from(stack, squatter.email, INVITATION), new_password()
    rest = Rest(stack)
    assert not rest.get(f"employees/validate-invitation/{token}").json()["hasAccount"]
    assert problem(rest.post("employees/accept-invitation", {"token": token})).rules == ("password.missing",)
    accepted = rest.post("employees/accept-invitation", {"token": token, "password": password, "firstName": "Ada"})
    assert accepted.json()["user"]["firstName"] == "Ada"
    assert Rest(stack, session.access_token).get("auth/me").status_code == 401
    assert rest.post("auth/refresh", {"refreshToken": session.refresh_token}).status_code == 401
    old = {"email": squatter.email, "password": squatter.password}
    assert reason(rest.post("auth/login", old)) == (401, "CREDENTIALS_INVALID")
    assert log_in(stack, Account(squatter.email, password, squatter.id), tenant.subdomain).roles == ("admin",)


def test_a_member_gets_further_roles_with_the_next_call(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "viewer")
    Rest(stack).post("auth/verify-email", {"token": token_from(stack, account.email, VERIFY)})
    rest = Rest(stack, session.access_token)
    assert rest.get(PATH).status_code == 403
    invite(tenant, account.email, roles=["admin"])
    token = token_from(stack, account.email, INVITATION)
    assert Rest(stack).post("employees/accept-invitation", {"token": token}).status_code == 201
    assert rest.get(PATH).status_code == 200
    (row,) = rows(stack, "SELECT roles FROM memberships WHERE user_id = %s AND tenant_id = %s", account.id, tenant.id)
    assert row["roles"] == ["admin", "viewer"]


def test_a_new_account_needs_a_good_password(stack: Stack, tenant: Tenant) -> None:
    email = new_address()
    invite(tenant, email)
    token = token_from(stack, email, INVITATION)
    for password, rule in (
        ("", "password.missing"),
        ("Password1!", "password.common"),
        ("weak-pass1", "password.upper"),
    ):
        refused = problem(Rest(stack).post("employees/accept-invitation", {"token": token, "password": password}))
        assert refused.rules == (rule,)
    good = {"token": token, "password": new_password()}
    assert Rest(stack).post("employees/accept-invitation", good).status_code == 201


def test_a_token_is_accepted_once_in_parallel(stack: Stack, tenant: Tenant) -> None:
    email = new_address()
    invite(tenant, email)
    body = {"token": token_from(stack, email, INVITATION), "password": new_password()}
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda _: Rest(stack).post("employees/accept-invitation", body).status_code, range(8))
        )
    assert sorted(answers) == [201, *[422] * 7]


def test_nobody_grants_by_invitation_what_they_lack(stack: Stack, tenant: Tenant) -> None:
    _, session = new_member(tenant, "admin")
    rest = Rest(stack, session.access_token)
    refused = rest.post("/api/v1/employees/invite", {"email": new_address(), "roles": ["owner"]})
    assert reason(refused) == (403, "GRANT_EXCEEDS_OWN")
    unknown = tenant.rest.post("/api/v1/employees/invite", {"email": new_address(), "roles": ["editor", "nobody"]})
    assert problem(unknown).rules == ("role.unknown",)
    # Nor by sending again what somebody else has offered.
    offered = invite(tenant, new_address(), roles=["owner"])
    assert reason(rest.post(f"{PATH}/{offered['id']}/resend", {})) == (403, "GRANT_EXCEEDS_OWN")
    for role in ("editor", "member", "viewer", "employee"):
        _, session = new_member(tenant, role)
        answer = Rest(stack, session.access_token).post("/api/v1/employees/invite", {"email": new_address()})
        assert answer.status_code == 403


def test_an_open_invitation_is_sent_again_and_cancelled(stack: Stack, tenant: Tenant) -> None:
    email = new_address()
    invitation = invite(tenant, email)
    again = tenant.rest.post("/api/v1/employees/invite", {"email": email.upper()})
    assert reason(again) == (409, "RESOURCE_TAKEN")
    first = token_from(stack, email, INVITATION)
    with database(stack) as connection:
        connection.execute("UPDATE invitations SET expire_time = now() WHERE id = %s", (invitation["id"],))
    rest = Rest(stack)
    assert problem(rest.get(f"employees/validate-invitation/{first}")).rules == ("token.invalid",)
    resent = tenant.rest.post(f"{PATH}/{invitation['id']}/resend", {})
    assert resent.status_code == 200, resent.text
    second = token_from(stack, email, INVITATION, 2)
    assert problem(rest.get(f"employees/validate-invitation/{first}")).rules == ("token.invalid",)
    assert rest.get(f"employees/validate-invitation/{second}").status_code == 200
    listed = tenant.rest.get(PATH, {"filter": f'email = "{email}"'}).json()["invitations"]
    assert [each["id"] for each in listed] == [invitation["id"]]
    assert tenant.rest.delete(f"{PATH}/{invitation['id']}").status_code == 204
    assert problem(rest.get(f"employees/validate-invitation/{second}")).rules == ("token.invalid",)


def test_what_was_accepted_is_not_sent_again(stack: Stack, tenant: Tenant) -> None:
    account = verified(stack)
    invitation = invite(tenant, account.email)
    token = token_from(stack, account.email, INVITATION)
    assert Rest(stack).post("employees/accept-invitation", {"token": token}).status_code == 201
    assert reason(tenant.rest.post(f"{PATH}/{invitation['id']}/resend", {})) == (409, "STATE_FORBIDS")
    assert len(letters(stack, account.email, INVITATION)) == 1


def test_a_tenant_that_is_gone_invites_nobody(stack: Stack) -> None:
    tenant, email = new_tenant(stack), new_address()
    invite(tenant, email)
    token = token_from(stack, email, INVITATION)
    assert tenant.rest.delete(tenant.path).status_code == 204
    rest = Rest(stack)
    assert problem(rest.get(f"employees/validate-invitation/{token}")).rules == ("token.invalid",)
    body = {"token": token, "password": new_password()}
    assert problem(rest.post("employees/accept-invitation", body)).rules == ("token.invalid",)


def test_the_name_of_a_tenant_writes_no_headers(stack: Stack) -> None:
    tenant, email = new_tenant(stack, name="Acme\u2028Bcc: x@example.com"), new_address()
    invite(tenant, email)
    wait_for_letter(stack, email, "Invitation to Acme Bcc: x@example.com")
