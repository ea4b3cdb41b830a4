"""Signing up, signing in and staying signed in."""

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest

from server.domains.identity.passwords import Passwords
from server.kernel.call import Principal
from server.kernel.guard.tokens import AccessTokens
from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    another_tenant,
    database,
    log_in,
    new_address,
    new_member,
    new_password,
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
from tests.domains.events import events_about
from tests.stack import Stack


def shape(value: Any) -> Any:
    """What of a JSON value does not depend on the user: keys, and the form of each value."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return re.sub(r"\w+", "x", value) if isinstance(value, str) else value


def bare_headers(response: httpx.Response) -> set[str]:
    """The names of the headers."""
    return set(response.headers) - {"date"}


def alive(stack: Stack, token: str) -> bool:
    """Whether an access token still works."""
    response = Rest(stack, token).get("auth/me")
    assert response.status_code in (200, 401), response.text
    return response.status_code == 200


# Signing up ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["auth/signup", "auth/register"])
def test_signing_up_answers_the_user_and_nothing_else(stack: Stack, path: str) -> None:
    email, password = new_address(), new_password()
    body = {"email": email, "password": password, "firstName": "Ada", "lastName": "Lovelace"}
    response = Rest(stack).post(path, body)
    assert response.status_code == 201
    user = response.json()["user"]
    assert user == user | {"email": email, "firstName": "Ada", "lastName": "Lovelace"}
    assert user == user | {"state": "STATE_ACTIVE", "roles": [], "etag": ""}
    assert set(user) == {"id", "email", "firstName", "lastName", "createTime", "state", "roles", "etag"}
    assert log_in(stack, Account(email, password, user["id"])).roles == ()


@pytest.mark.parametrize(
    ("password", "rules"),
    [
        ("Sh0rt-x", {"string.min_len"}),
        ("no-upper-case-1", {"password.upper"}),
        ("No-Digit-Here", {"password.digit"}),
        ("NoSpecialSign1", {"password.special"}),
        ("only lower case", {"password.upper", "password.digit", "password.special"}),
        ("", {"string.min_len", "password.upper", "password.digit", "password.special"}),
        ("Aa1!" * 51, {"string.max_len"}),
        ("Password1!", {"password.common"}),
        ("P@ssw0rd!", {"password.common"}),
        ("Qwerty123!", {"password.common"}),
    ],
)
def test_each_rule_of_passwords_is_named(stack: Stack, password: str, rules: set[str]) -> None:
    response = Rest(stack).post("auth/signup", {"email": new_address(), "password": password})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"password"}
    assert set(problem(response).rules) == rules
    assert password == "" or password not in response.text


@pytest.mark.parametrize(
    "email",
    [
        "",
        "nobody",
        "@example.com",
        "a@",
        "a b@example.com",
        "a@b@c.example",
        f"{'a' * 250}@example.com",
        "a@-b.com",
        "a@bü cher.example",
        "a@xn--a.example",
    ],
)
def test_an_address_that_is_none_is_refused(stack: Stack, email: str) -> None:
    response = Rest(stack).post("auth/signup", {"email": email, "password": new_password()})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"email"}


def test_an_address_of_a_domain_in_any_script_is_one_in_each_of_its_forms(stack: Stack) -> None:
    name, password = unique("idn"), new_password()
    shown, typed = f"{name}@bücher.example", f"{name}@xn--bcher-kva.example"
    made = Rest(stack).post("auth/signup", {"email": shown, "password": password})
    assert made.status_code == 201, made.text
    assert made.json()["user"]["email"] == shown
    decomposed = f"{name}@bu\N{COMBINING DIAERESIS}cher.example"
    for form in (shown, typed, shown.upper(), f"{name}@BÜCHER.Example", decomposed, f"{name}@bücher。example"):
        login = Rest(stack).post("auth/login", {"email": form, "password": password})
        assert login.status_code == 200, (form, login.text)
    Rest(stack).post("auth/signup", {"email": typed, "password": new_password()})
    assert len(rows(stack, "SELECT FROM users WHERE email LIKE %s", f"{name}@%")) == 1


def test_a_known_address_answers_like_a_new_one(stack: Stack, account: Account) -> None:
    def ask(email: str) -> httpx.Response:
        return Rest(stack).post("auth/signup", {"email": email, "password": new_password(), "firstName": "Eve"})

    known, fresh = ask(account.email), ask(new_address())
    assert known.status_code == fresh.status_code == 201
    assert shape(known.json()) == shape(fresh.json())
    assert bare_headers(known) == bare_headers(fresh)
    assert known.json()["user"]["id"] != account.id
    assert known.json()["user"]["firstName"] == "Eve"


def test_a_known_address_keeps_its_password_and_its_owner_is_to_be_told(stack: Stack) -> None:
    account = sign_up(stack)
    again = {"email": account.email.upper(), "password": new_password()}
    assert Rest(stack).post("auth/signup", again).status_code == 201
    assert reason(Rest(stack).post("auth/login", again)) == (401, "CREDENTIALS_INVALID")
    assert log_in(stack, account)
    assert len(rows(stack, "SELECT FROM users WHERE lower(email) = lower(%s)", account.email)) == 1
    told = [event.type for event in events_about(stack, account.email)]
    assert told[:1] == ["user.signed_up"]
    assert [event.type for event in events_about(stack, account.email.partition("@")[0].upper())] == [
        "user.sign_up_repeated"
    ]


def test_of_parallel_sign_ups_with_one_address_one_makes_a_user(stack: Stack) -> None:
    body = {"email": new_address(), "password": new_password()}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: Rest(stack).post("auth/signup", body), range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len(rows(stack, "SELECT FROM users WHERE email = %s", body["email"])) == 1


def test_signing_up_into_an_open_tenant_joins_it_as_a_member(stack: Stack, first_tenant: Tenant) -> None:
    tenant = _open(first_tenant)
    session = log_in(stack, sign_up(stack, tenant=tenant.subdomain))
    assert (session.tenant_id, session.roles) == (tenant.id, ("member",))
    assert Rest(stack, session.access_token).get(f"{tenant.path}/pages").status_code == 200


def _open(tenant: Tenant, **facts: Any) -> Tenant:
    return another_tenant(tenant, signUpOpen=True, **facts)


@pytest.mark.parametrize("exists", [True, False])
def test_a_tenant_that_is_closed_and_one_that_is_not_there_answer_alike(
    stack: Stack,
    first_tenant: Tenant,
    exists: bool,  # noqa: FBT001
) -> None:
    body = {"email": new_address(), "password": new_password()}
    response = Rest(stack).post("auth/signup", body | {"tenant": first_tenant.subdomain if exists else unique("none")})
    assert reason(response) == (403, "SIGN_UP_CLOSED")
    assert problem(response).message == "This tenant takes no sign-ups."
    assert reason(Rest(stack).post("auth/login", body)) == (401, "CREDENTIALS_INVALID")


def test_a_tenant_may_choose_to_tell_of_a_known_address(stack: Stack, first_tenant: Tenant, account: Account) -> None:
    hidden, visible = _open(first_tenant), _open(first_tenant, signUpConflictVisible=True)
    body = {"email": account.email, "password": new_password()}
    assert Rest(stack).post("auth/signup", body | {"tenant": hidden.subdomain}).status_code == 201
    response = Rest(stack).post("auth/signup", body | {"tenant": visible.subdomain})
    assert reason(response) == (409, "RESOURCE_TAKEN")
    assert problem(response).metadata == {"field": "email", "resource_type": "plinth.dev/User"}
    assert rows(stack, "SELECT FROM memberships WHERE user_id = %s", account.id) == []


# Signing in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["auth/login", "auth/callback/credentials"])
def test_logging_in_answers_tokens(stack: Stack, account: Account, path: str) -> None:
    response = Rest(stack).post(path, {"email": account.email, "password": account.password})
    assert response.status_code == 200
    body = response.json()
    assert (body["tokenType"], body["expiresIn"], body["tenantId"], body["roles"]) == ("Bearer", 900, "", [])
    assert body["user"]["id"] == account.id
    in_thirty_days = datetime.now(UTC) + timedelta(days=30)
    assert abs(datetime.fromisoformat(body["refreshExpireTime"]) - in_thirty_days) < timedelta(minutes=5)
    assert alive(stack, body["accessToken"])
    assert response.headers["cache-control"] == "no-store"


def test_a_wrong_password_and_an_unknown_address_answer_alike(stack: Stack, account: Account) -> None:
    wrong = Rest(stack).post("auth/login", {"email": account.email, "password": new_password()})
    unknown = Rest(stack).post("auth/login", {"email": new_address(), "password": account.password})
    assert reason(wrong) == reason(unknown) == (401, "CREDENTIALS_INVALID")
    assert shape(wrong.json()) == shape(unknown.json())
    assert problem(wrong).message == problem(unknown).message
    assert bare_headers(wrong) == bare_headers(unknown)


def test_an_address_has_no_case(stack: Stack, account: Account) -> None:
    for email in (account.email.upper(), f"  {account.email} "):
        assert log_in(stack, Account(email, account.password, "")).access_token


def test_an_international_domain_can_be_written_as_it_was_when_signing_up(stack: Stack) -> None:
    account = sign_up(stack, email=f"{unique('user')}@xn--bcher-kva.example")
    name = account.email.partition("@")[0]
    for domain in ("xn--bcher-kva", "b\u00fccher", "bu\u0308cher", "B\u00dcCHER"):
        assert log_in(stack, Account(f"{name}@{domain}.example", account.password, "")).access_token


def test_logging_in_to_a_tenant_by_name(stack: Stack) -> None:
    first = new_tenant(stack)
    second = new_tenant(stack, first.owner)
    assert log_in(stack, first.owner, first.subdomain).tenant_id == first.id
    assert log_in(stack, first.owner, second.subdomain).tenant_id == second.id
    # Without a name: where one was last.
    assert log_in(stack, first.owner).tenant_id == second.id


def test_logging_in_to_a_foreign_tenant_is_refused_like_a_wrong_password(
    stack: Stack, account: Account, first_tenant: Tenant
) -> None:
    body = {"email": account.email, "password": account.password}
    foreign = Rest(stack).post("auth/login", body | {"tenant": first_tenant.subdomain})
    absent = Rest(stack).post("auth/login", body | {"tenant": unique("none")})
    assert reason(foreign) == reason(absent) == (401, "CREDENTIALS_INVALID")
    assert shape(foreign.json()) == shape(absent.json())


@pytest.mark.parametrize("path", ["auth/me", "auth/session"])
def test_who_one_is(stack: Stack, first_tenant: Tenant, path: str) -> None:
    body = Rest(stack, first_tenant.access_token).get(path).json()
    assert body["user"]["id"] == first_tenant.owner.id
    assert body["user"]["email"] == first_tenant.owner.email
    assert (body["tenantId"], body["roles"]) == (first_tenant.id, ["owner"])
    assert {
        "tenantId": first_tenant.id,
        "subdomain": first_tenant.subdomain,
        "tenantName": "Acme",
        "roles": ["owner"],
    } in body["memberships"]


def test_a_user_sees_what_they_may_do(stack: Stack) -> None:
    tenant = new_tenant(stack)
    _, viewer = new_member(tenant, "viewer")
    found = Rest(stack, viewer.access_token).get("auth/caller").json()
    assert (found["tenantId"], found["roles"], found["apiKeyId"]) == (tenant.id, ["viewer"], "")
    assert found["isPlatformAdmin"] is False
    assert "sites.pages.read" in found["permissions"]
    assert "sites.pages.publish" not in found["permissions"]
    owner = tenant.rest.get("auth/caller").json()
    assert set(owner["permissions"]) > set(found["permissions"])
    assert (owner["userId"], owner["name"]) == (tenant.owner.id, tenant.owner.email)
    assert owner["permissions"] == sorted(owner["permissions"])


def test_a_user_sees_at_once_what_they_may_do_no_more(stack: Stack) -> None:
    tenant = new_tenant(stack)
    account, session = new_member(tenant, "viewer")
    rest = Rest(stack, session.access_token)
    assert rest.get("auth/caller").json()["permissions"]
    role = next(role for role in tenant.rest.get("rbac/roles").json()["roles"] if role["name"] == "viewer")
    assert tenant.rest.delete(f"users/{account.id}/roles/{role['id']}").status_code == 204
    assert rest.get("auth/caller").json()["permissions"] == []


def test_an_api_key_sees_what_it_may_do(stack: Stack) -> None:
    tenant = new_tenant(stack)
    body = {"name": "Reader", "permissions": ["sites.pages.read"], "expireTime": "2100-01-01T00:00:00Z"}
    made = tenant.rest.post(f"{tenant.path}/api-keys", body).json()
    found = Rest(stack, made["key"]).get("auth/caller").json()
    assert found == {
        "userId": "",
        "apiKeyId": made["id"],
        "name": "Reader",
        "tenantId": tenant.id,
        "roles": [],
        "permissions": ["sites.pages.read"],
        "isPlatformAdmin": False,
        "expireTime": "2100-01-01T00:00:00Z",
    }


def test_who_has_no_tenant_may_do_nothing(stack: Stack, account: Account) -> None:
    found = Rest(stack, log_in(stack, account).access_token).get("auth/caller").json()
    assert (found["userId"], found["tenantId"], found["permissions"]) == (account.id, "", [])


# Refreshing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["auth/refresh", "auth/refresh-token"])
def test_a_refresh_rotates(stack: Stack, first_tenant: Tenant, path: str) -> None:
    first = log_in(stack, first_tenant.owner)
    second = Session.of(Rest(stack).post(path, {"refreshToken": first.refresh_token}))
    assert second.refresh_token != first.refresh_token
    assert (second.tenant_id, second.roles) == (first.tenant_id, ("owner",))
    assert alive(stack, second.access_token)
    assert alive(stack, first.access_token)


def refresh(stack: Stack, token: str) -> httpx.Response:
    return Rest(stack).post("auth/refresh", {"refreshToken": token})


def test_fifty_parallel_refreshes_of_one_token_get_one_successor_and_no_logout(stack: Stack, account: Account) -> None:
    first = log_in(stack, account)
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: refresh(stack, first.refresh_token), range(50)))
    sessions = [Session.of(answer) for answer in answers]
    assert len({session.refresh_token for session in sessions}) == 1
    assert all(alive(stack, session.access_token) for session in (sessions[0], sessions[-1], first))
    assert refresh(stack, sessions[0].refresh_token).status_code == 200


def test_a_token_two_generations_back_ends_the_session(stack: Stack, account: Account) -> None:
    other = log_in(stack, account)
    first = log_in(stack, account)
    second = Session.of(refresh(stack, first.refresh_token))
    third = Session.of(refresh(stack, second.refresh_token))
    assert reason(refresh(stack, first.refresh_token)) == (401, "REFRESH_TOKEN_REUSED")
    for session in (first, second, third):
        assert reason(refresh(stack, session.refresh_token)) == (401, "SESSION_ENDED")
        assert reason(Rest(stack, session.access_token).get("auth/me")) == (401, "SESSION_ENDED")
    # Another session of the same user is none of its business.
    assert alive(stack, other.access_token)
    assert "session.refresh_token_reused" in [event.type for event in events_about(stack, account.id)]


def test_an_answer_that_was_lost_is_asked_for_again_however_late(stack: Stack, account: Account) -> None:
    first = log_in(stack, account)
    lost = Session.of(refresh(stack, first.refresh_token))
    for span in ("1 minute", "29 days"):
        _move_session(stack, lost, rotate_time=span)
        again = Session.of(refresh(stack, first.refresh_token))
        assert again.refresh_token == lost.refresh_token
        assert alive(stack, again.access_token)
    # Every answer can be lost, the next one as well.
    third = Session.of(refresh(stack, again.refresh_token))
    _move_session(stack, third, rotate_time="1 minute")
    assert Session.of(refresh(stack, again.refresh_token)).refresh_token == third.refresh_token


def test_a_token_is_dead_once_its_successor_was_used(stack: Stack, account: Account) -> None:
    first = log_in(stack, account)
    second = Session.of(refresh(stack, first.refresh_token))
    Session.of(refresh(stack, second.refresh_token))
    assert reason(refresh(stack, first.refresh_token)) == (401, "REFRESH_TOKEN_REUSED")
    assert not alive(stack, second.access_token)


def test_two_tabs_that_refresh_at_once_go_on_both(stack: Stack, account: Account) -> None:
    shared = log_in(stack, account)
    tabs = [Session.of(refresh(stack, shared.refresh_token)) for _ in range(2)]
    for _ in range(3):
        tabs = [Session.of(refresh(stack, tab.refresh_token)) for tab in tabs]
        assert all(alive(stack, tab.access_token) for tab in tabs)


def test_answers_of_switches_can_be_lost(stack: Stack) -> None:
    first = new_tenant(stack)
    second = new_tenant(stack, first.owner)
    for tenant in (first, second, first):
        # Nobody keeps the refresh token of the answer.
        switch_tenant(stack, second.session, tenant.id)
    renewed = Session.of(refresh(stack, second.session.refresh_token))
    assert renewed.tenant_id == first.id
    assert alive(stack, renewed.access_token)


def test_a_token_that_the_database_has_forgotten_goes_on(stack: Stack, account: Account) -> None:
    """As after a restore: the session is as it was some refreshes ago."""
    session = log_in(stack, account)
    older = session
    for _ in range(3):
        session = Session.of(refresh(stack, session.refresh_token))
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    with database(stack) as connection:
        connection.execute("UPDATE sessions SET counter = 0 WHERE id = %s", (claims["sid"],))
    renewed = Session.of(refresh(stack, session.refresh_token))
    assert alive(stack, renewed.access_token)
    assert reason(refresh(stack, older.refresh_token)) == (401, "REFRESH_TOKEN_REUSED")


def _move_session(stack: Stack, session: Session, **moments: str) -> None:
    """Let a session be older than it is."""
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    with database(stack) as connection:
        for column, span in moments.items():
            sql = f"UPDATE sessions SET {column} = {column} - %s::interval WHERE id = %s"
            assert connection.execute(sql.encode(), (span, claims["sid"])).rowcount == 1


def test_a_refresh_token_that_was_not_used_for_thirty_days_is_dead(stack: Stack, account: Account) -> None:
    session = log_in(stack, account)
    _move_session(stack, session, expire_time="30 days 1 minute")
    assert reason(refresh(stack, session.refresh_token)) == (401, "SESSION_ENDED")


def test_a_refresh_token_that_was_touched_is_refused(stack: Stack, account: Account) -> None:
    token = log_in(stack, account).refresh_token
    raw = bytearray(base64.urlsafe_b64decode(token.removeprefix("prt_")))
    raw[20] ^= 1
    for wrong in (
        "x",
        "prt_",
        token[4:],
        token[:-6] + "AAAAA=",
        "prt_" + base64.urlsafe_b64encode(raw).decode(),
        "prt_" + base64.urlsafe_b64encode(raw[:24]).decode(),
        token + "AAAA",
    ):
        assert reason(refresh(stack, wrong)) == (401, "CREDENTIALS_INVALID"), wrong
    assert refresh(stack, token).status_code == 200


# Logging out ---------------------------------------------------------------------------------------------------------


def test_logging_out_kills_both_tokens_at_once_and_nobody_elses(stack: Stack, account: Account) -> None:
    other, session = log_in(stack, account), log_in(stack, account)
    response = Rest(stack, session.access_token).post("auth/logout")
    assert (response.status_code, response.content) == (204, b"")
    assert reason(Rest(stack, session.access_token).get("auth/me")) == (401, "SESSION_ENDED")
    assert reason(refresh(stack, session.refresh_token)) == (401, "SESSION_ENDED")
    why = refused(lambda: stubs(stack, session.access_token).auth.GetCurrentUser(GetCurrentUserRequest()))
    assert (why.code, why.reason) == (16, "SESSION_ENDED")
    assert alive(stack, other.access_token)


# Access tokens -------------------------------------------------------------------------------------------------------


def test_an_access_token_verifies_from_outside_with_the_published_key(stack: Stack, first_tenant: Tenant) -> None:
    response = Rest(stack).get("/.well-known/jwks.json")
    assert response.headers["cache-control"] == "public, max-age=300"
    keys = jwt.PyJWKSet.from_dict(response.json())
    token = first_tenant.access_token
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "EdDSA", "typ": "JWT", "kid": keys.keys[0].key_id}
    claims = jwt.decode(token, keys[header["kid"]], algorithms=["EdDSA"], issuer="plinth")
    assert claims == claims | {"sub": first_tenant.owner.id, "tid": first_tenant.id, "roles": ["owner"]}
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert set(claims) == {"iss", "sub", "sid", "iat", "exp", "roles", "tid", "auth_time"}


def test_the_published_keys_are_public(stack: Stack) -> None:
    for key in Rest(stack).get("/.well-known/jwks.json").json()["keys"]:
        assert key == key | {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA"}
        assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _forgeries(token: str) -> dict[str, str]:
    """Tokens that nobody issued."""
    header, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    key_id = jwt.get_unverified_header(token)["kid"]
    stranger = Ed25519PrivateKey.generate()
    promoted = _encoded(claims | {"plt": True, "roles": ["super_admin"]})
    return {
        "other claims": f"{header}.{promoted}.{signature}",
        "no algorithm": f"{_encoded({'alg': 'none', 'typ': 'JWT', 'kid': key_id})}.{payload}.",
        "no algorithm, signed": f"{_encoded({'alg': 'none', 'typ': 'JWT', 'kid': key_id})}.{payload}.{signature}",
        "no signature": f"{header}.{payload}.",
        "two parts": f"{header}.{payload}",
        "a stranger's key": jwt.encode(claims, stranger, "EdDSA", headers={"kid": key_id}),
        "a stranger's key id": jwt.encode(claims, stranger, "EdDSA", headers={"kid": "unknown"}),
        "no key id": jwt.encode(claims, stranger, "EdDSA"),
        "a shared secret": jwt.encode(claims, "x" * 64, "HS256", headers={"kid": key_id}),
        "nonsense": "nonsense",
    }


def test_forged_access_tokens_are_refused(stack: Stack, first_tenant: Tenant) -> None:
    for what, token in _forgeries(first_tenant.access_token).items():
        response = Rest(stack, token).get("auth/me")
        assert reason(response) == (401, "CREDENTIALS_INVALID"), what
        assert response.headers["www-authenticate"] == 'Bearer realm="plinth"'
        assert token not in response.text


def _issue(stack: Stack, tenant: Tenant, age: timedelta, issuer: str = "plinth") -> str:
    """A token that the deployment itself issued this long ago."""
    claims = jwt.decode(tenant.access_token, options={"verify_signature": False})
    tokens = AccessTokens(stack.settings.secrets, issuer=issuer, lifetime=900, clock=lambda: datetime.now(UTC) - age)
    return tokens.issue(Principal(claims["sub"], claims["sid"], tenant.id, ("owner",), is_platform=False, expires_at=0))


def test_an_expired_access_token_is_told_so(stack: Stack, first_tenant: Tenant) -> None:
    assert alive(stack, _issue(stack, first_tenant, timedelta(minutes=14)))
    expired = _issue(stack, first_tenant, timedelta(minutes=16))
    for path in ("auth/me", f"{first_tenant.path}/pages"):
        assert reason(Rest(stack, expired).get(path)) == (401, "TOKEN_EXPIRED")


def test_a_token_of_another_issuer_is_refused(stack: Stack, first_tenant: Tenant) -> None:
    token = _issue(stack, first_tenant, timedelta(), issuer="elsewhere")
    assert reason(Rest(stack, token).get("auth/me")) == (401, "CREDENTIALS_INVALID")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "CREDENTIALS_MISSING"),
        ("Bearer", "CREDENTIALS_MISSING"),
        ("Basic dXNlcjpwYXNz", "CREDENTIALS_INVALID"),
        ("{token}", "CREDENTIALS_INVALID"),
    ],
)
def test_other_ways_to_send_a_token_are_refused(stack: Stack, first_tenant: Tenant, header: str, expected: str) -> None:
    headers = {"authorization": header.format(token=first_tenant.access_token)}
    assert reason(Rest(stack).get("auth/me", headers=headers)) == (401, expected)


def test_the_scheme_has_no_case(stack: Stack, first_tenant: Tenant) -> None:
    headers = {"authorization": f"bearer {first_tenant.access_token}"}
    assert Rest(stack).get("auth/me", headers=headers).status_code == 200


# Switching -----------------------------------------------------------------------------------------------------------


def test_switching_trades_the_tenant(stack: Stack) -> None:
    first = new_tenant(stack)
    second = new_tenant(stack, first.owner)
    session = switch_tenant(stack, second.session, first.id)
    assert (session.tenant_id, session.roles) == (first.id, ("owner",))
    assert Rest(stack, session.access_token).get(first.path).status_code == 200
    assert reason(Rest(stack, session.access_token).get(second.path)) == (404, "RESOURCE_NOT_FOUND")
    # A refresh stays where the session is.
    assert Session.of(refresh(stack, session.refresh_token)).tenant_id == first.id


def test_switching_to_a_foreign_tenant_is_refused_and_changes_nothing(
    stack: Stack, account: Account, first_tenant: Tenant
) -> None:
    session = log_in(stack, account)
    rest = Rest(stack, session.access_token)
    for tenant_id in (first_tenant.id, "01890000-0000-7000-8000-000000000000"):
        response = rest.post("auth/switch-tenant", {"tenantId": tenant_id})
        assert reason(response) == (404, "RESOURCE_NOT_FOUND")
        assert problem(response).resource_type == "plinth.dev/Tenant"
    assert reason(rest.post("auth/switch-tenant", {"tenantId": "nonsense"})) == (422, "RULE_VIOLATED")
    _move_session(stack, session, rotate_time="1 minute")
    assert Session.of(refresh(stack, session.refresh_token)).tenant_id == ""


def test_the_101st_tenant_can_be_switched_to(stack: Stack, first_tenant: Tenant) -> None:
    account = sign_up(stack)
    with database(stack) as connection:
        connection.execute(
            "WITH made AS (INSERT INTO tenants (id, subdomain, name, status)"
            " SELECT gen_random_uuid(), %s || n, 'Many', 1 FROM generate_series(1, 101) n RETURNING id)"
            " INSERT INTO memberships (tenant_id, user_id, roles, create_time)"
            " SELECT id, %s, '{member}', now() - interval '1 day' FROM made",
            (unique("m"), account.id),
        )
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, '{viewer}')",
            (first_tenant.id, account.id),
        )
    session = switch_tenant(stack, log_in(stack, account), first_tenant.id)
    assert (session.tenant_id, session.roles) == (first_tenant.id, ("viewer",))
    assert Session.of(refresh(stack, session.refresh_token)).tenant_id == first_tenant.id
    assert log_in(stack, account, first_tenant.subdomain).tenant_id == first_tenant.id


# Secrets -------------------------------------------------------------------------------------------------------------


def test_no_event_holds_a_password_or_a_token(stack: Stack) -> None:
    tenant = new_tenant(stack)
    session = log_in(stack, tenant.owner)
    renewed = Session.of(refresh(stack, session.refresh_token))
    Rest(stack).post("auth/signup", {"email": tenant.owner.email, "password": tenant.owner.password})
    Rest(stack, renewed.access_token).post("auth/logout")
    types = {event.type for event in events_about(stack, tenant.owner.email)}
    assert types >= {"user.signed_up", "session.started", "session.refreshed", "session.switched"}
    secrets = [tenant.owner.password]
    for one in (tenant.session, session, renewed):
        secrets += [one.access_token, one.access_token.split(".")[2], one.refresh_token, one.refresh_token[-40:]]
    for secret in secrets:
        assert events_about(stack, secret) == []


def test_no_password_is_stored_as_it_is(stack: Stack, account: Account) -> None:
    [stored] = rows(stack, "SELECT password_hash, users::text AS row FROM users WHERE id = %s", account.id)
    assert stored["password_hash"].startswith(f"$argon2id$v=19$m={stack.settings.password_memory},t=2,p=1$")
    assert account.password not in stored["row"]


def test_a_hash_of_other_strength_is_replaced_at_the_next_sign_in(stack: Stack, account: Account) -> None:
    older = Passwords(stack.settings.password_memory * 2).hash(account.password)
    with database(stack) as connection:
        connection.execute("UPDATE users SET password_hash = %s WHERE id = %s", (older, account.id))
    log_in(stack, account)
    [stored] = rows(stack, "SELECT password_hash FROM users WHERE id = %s", account.id)
    assert f"m={stack.settings.password_memory}," in stored["password_hash"]
    assert log_in(stack, account).access_token


# Users that are gone -------------------------------------------------------------------------------------------------


def test_a_user_that_was_erased_is_nobody(stack: Stack) -> None:
    """Whatever of their session is left."""
    account = sign_up(stack)
    session = log_in(stack, account)
    with database(stack) as connection:
        connection.execute("UPDATE users SET delete_time = now() WHERE id = %s", (account.id,))
    assert reason(Rest(stack, session.access_token).get("auth/me")) == (401, "SESSION_ENDED")
    refreshed = Rest(stack).post("auth/refresh", {"refreshToken": session.refresh_token})
    assert reason(refreshed) == (401, "SESSION_ENDED")


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "@example.com", "ada@", "ada@exam ple.com"])
def test_what_is_no_address_signs_nobody_in_and_tells_nothing(stack: Stack, address: str) -> None:
    answer = Rest(stack).post("auth/login", {"email": address, "password": new_password()})
    assert reason(answer) == (401, "CREDENTIALS_INVALID")
    assert problem(answer).violations == {}
