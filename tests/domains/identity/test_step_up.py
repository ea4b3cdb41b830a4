"""Step-up: RPCs that a stolen access token must not call, and what proves again who somebody is."""

import jwt
import pytest

from tests.clients import Rest, Session, Tenant, log_in, new_member, new_password, new_tenant, problem, reason
from tests.contract.instances import PERMISSION
from tests.domains.identity.authenticator import Authenticator
from tests.domains.identity.second_factors import proven_long_ago, secured
from tests.domains.identity.test_passkeys import User, login_options
from tests.stack import Stack


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def proven_at(session: Session) -> int:
    return int(jwt.decode(session.access_token, options={"verify_signature": False})["auth_time"])


def test_a_token_from_long_ago_does_the_usual_and_nothing_dangerous(stack: Stack, tenant: Tenant) -> None:
    rest = Rest(stack, proven_long_ago(stack, tenant.session))
    assert rest.get("auth/me").status_code == 200
    key = {"name": "A key", "permissions": [PERMISSION]}
    refused = [
        rest.post(f"{tenant.path}/api-keys", key),
        rest.delete(tenant.path),
        rest.post("auth/second-factor/totp", {}),
        rest.get("auth/passkey-registration"),
    ]
    assert {reason(answer) for answer in refused} == {(403, "STEP_UP_REQUIRED")}
    assert problem(refused[0]).metadata == {"max_age_seconds": "3600"}
    assert tenant.rest.get(tenant.path).status_code == 200

    renewed = Session.of(rest.post("auth/step-up", {"password": tenant.owner.password}))
    assert Rest(stack, renewed.access_token).post(f"{tenant.path}/api-keys", key).status_code == 201


def test_who_may_not_call_learns_nothing_of_a_step_up(stack: Stack, tenant: Tenant) -> None:
    _, session = new_member(tenant, "viewer")
    answer = Rest(stack, proven_long_ago(stack, session)).delete(tenant.path)
    assert reason(answer) == (403, "PERMISSION_MISSING")


def test_an_api_key_proves_nothing_again(stack: Stack, tenant: Tenant) -> None:
    permissions = [PERMISSION, "identity.api_keys.create"]
    key = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "Maker", "permissions": permissions}).json()["key"]
    made = Rest(stack, key).post(f"{tenant.path}/api-keys", {"name": "Made", "permissions": [PERMISSION]})
    assert made.status_code == 201, made.text


def test_a_session_remembers_its_proof(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    rest = Rest(stack, proven_long_ago(stack, session))
    stepped_up = Session.of(rest.post("auth/step-up", {"password": account.password}))
    assert proven_at(stepped_up) >= proven_at(session)
    # The refresh token is the newest one of the session, and renews nothing but the tokens.
    refreshed = Session.of(Rest(stack).post("auth/refresh", {"refreshToken": stepped_up.refresh_token}))
    assert proven_at(refreshed) == proven_at(stepped_up)
    assert stepped_up.refresh_token == session.refresh_token


def test_a_wrong_proof_proves_nothing(stack: Stack, tenant: Tenant) -> None:
    rest = Rest(stack, new_member(tenant, "member")[1].access_token)
    assert problem(rest.post("auth/step-up", {"password": new_password()})).rules == ("password.wrong",)
    assert problem(rest.post("auth/step-up", {"code": "123456"})).rules == ("code.wrong",)
    assert problem(rest.post("auth/step-up", {"passkey": {"id": "x"}})).rules == ("passkey.wrong",)
    assert problem(rest.post("auth/step-up", {})).violations == {"proof": ["exactly one field is required in oneof"]}


def test_where_there_is_a_second_factor_the_password_does_not_do(stack: Stack, tenant: Tenant) -> None:
    user = secured(stack, new_member(tenant, "member")[0])
    rest = user.rest
    assert problem(rest.post("auth/step-up", {"password": user.account.password})).rules == ("code.needed",)
    assert Session.of(rest.post("auth/step-up", {"code": user.code()})).access_token
    assert Session.of(rest.post("auth/step-up", {"code": user.recovery_codes[0]})).access_token
    for _ in range(5):
        assert problem(rest.post("auth/step-up", {"code": "000000"})).rules == ("code.wrong",)
    assert reason(rest.post("auth/step-up", {"code": user.code()})) == (429, "RATE_LIMITED")


def test_a_passkey_steps_up_its_own_user(stack: Stack, tenant: Tenant) -> None:
    user, other = User(tenant), User(tenant)
    user.register()
    other.register()
    assert Session.of(user.rest.post("auth/step-up", {"passkey": user.answer()})).access_token
    assert problem(user.rest.post("auth/step-up", {"passkey": other.answer()})).rules == ("passkey.wrong",)
    stranger = Authenticator(user.authenticator.origin).get(login_options(stack))
    assert problem(user.rest.post("auth/step-up", {"passkey": stranger})).rules == ("passkey.wrong",)


def test_signing_in_anew_proves_it_too(stack: Stack, tenant: Tenant) -> None:
    account = new_member(tenant, "member")[0]
    session = log_in(stack, account)
    assert Rest(stack, session.access_token).post("auth/second-factor/totp", {}).status_code == 200
