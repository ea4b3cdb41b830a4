"""The second factor: enrolment, signing in with a code, recovery codes, and what guesses come to."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from argon2 import PasswordHasher

from server.domains.identity.sign_in_challenges import SignInChallenges
from server.kernel.ids import new_id
from server.kernel.problems import Unauthenticated
from server.secrets import Secrets
from tests.clients import Rest, Session, Tenant, log_in, new_member, new_password, new_tenant, problem, reason, rows
from tests.domains.identity.letters import RESET, VERIFY, letters, token_from, wait_for_letter
from tests.domains.identity.second_factors import Secured, app_code, proven_long_ago, secured
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

ENABLED, DISABLED = "Signing in now needs a code", "Signing in needs no code any more"
NONE = {"isEnabled": False, "recoveryCodesLeft": 0}
LOCKED, RECOVERED = "Somebody knows your password", "A recovery code was used"


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def user(tenant: Tenant) -> Secured:
    return secured(tenant.stack, new_member(tenant, "member")[0])


# Enrolment -----------------------------------------------------------------------------------------------------------


def test_signing_in_needs_a_code_once_the_app_is_confirmed(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    rest = Rest(stack, session.access_token)
    assert rest.get("auth/second-factor").json() == NONE
    started = rest.post("auth/second-factor/totp", {}).json()
    assert f"secret={started['secret']}" in started["url"]
    # The app counts only once it is confirmed.
    assert log_in(stack, account).access_token
    wrong = rest.post("auth/second-factor/totp/confirm", {"code": "000000"})
    assert problem(wrong).violations == {"code": ["is not what the app shows now"]}

    user = secured(stack, account)
    assert len(set(user.recovery_codes)) == 10
    shown = user.rest.get("auth/second-factor").json()
    assert (shown["isEnabled"], shown["recoveryCodesLeft"]) == (True, 10)
    wait_for_letter(stack, account.email, ENABLED)

    answer = Rest(stack).post("auth/login", {"email": account.email, "password": account.password}).json()
    assert (answer["accessToken"], answer["refreshToken"], answer.get("user")) == ("", "", None)
    completed = user.complete(app_code(user.secret, 1), answer["secondFactor"]["challenge"])
    session = Session.of(completed)
    assert session.tenant_id == tenant.id
    assert Rest(stack, session.access_token).get("auth/me").json()["user"]["email"] == account.email


def test_an_app_is_replaced_by_another_one(user: Secured) -> None:
    user.rest.post("auth/second-factor/totp", {})
    # Until the new one is confirmed, the old one counts.
    assert user.complete(user.code()).status_code == 200
    other = secured_again(user)
    assert user.complete(app_code(user.secret, 1)).status_code == 401
    assert other.complete(other.code()).status_code == 200
    assert user.complete(user.recovery_codes[0]).status_code == 401
    assert other.complete(other.recovery_codes[0]).status_code == 200


def secured_again(user: Secured) -> Secured:
    """The same user with another app."""
    started = user.rest.post("auth/second-factor/totp", {}).json()
    secret = base64.b32decode(started["secret"])
    codes = user.rest.post("auth/second-factor/totp/confirm", {"code": app_code(secret)}).json()["codes"]
    return Secured(user.stack, user.account, user.session, secret, codes)


def test_nothing_is_confirmed_that_was_not_started(stack: Stack, tenant: Tenant) -> None:
    rest = Rest(stack, new_member(tenant, "member")[1].access_token)
    assert reason(rest.post("auth/second-factor/totp/confirm", {"code": "123456"})) == (409, "STATE_FORBIDS")
    assert reason(rest.delete("auth/second-factor/totp")) == (409, "STATE_FORBIDS")
    assert reason(rest.post("auth/second-factor/recovery-codes", {})) == (409, "STATE_FORBIDS")
    rest.post("auth/second-factor/totp", {})
    assert reason(rest.delete("auth/second-factor/totp")) == (409, "STATE_FORBIDS")


def test_a_secret_waits_for_an_hour(stack: Stack, tenant: Tenant) -> None:
    account, session = new_member(tenant, "member")
    rest = Rest(stack, session.access_token)
    rest.post("auth/second-factor/totp", {})
    rows(
        stack,
        "UPDATE authenticators SET next_expire_time = now() - interval '1 s' WHERE user_id = %s RETURNING user_id",
        account.id,
    )
    assert reason(rest.post("auth/second-factor/totp/confirm", {"code": "123456"})) == (409, "STATE_FORBIDS")


def test_without_the_app_the_password_does_again(stack: Stack, user: Secured) -> None:
    assert user.rest.delete("auth/second-factor/totp").status_code == 204
    wait_for_letter(stack, user.account.email, DISABLED)
    assert log_in(stack, user.account).access_token
    assert user.rest.get("auth/second-factor").json() == NONE


# Codes ---------------------------------------------------------------------------------------------------------------


def test_a_code_works_once(user: Secured) -> None:
    code = user.code()
    assert user.complete(code).status_code == 200
    answer = user.complete(code)
    assert reason(answer) == (401, "CREDENTIALS_INVALID")
    assert code not in answer.text


def test_of_codes_sent_at_once_one_signs_in(user: Secured) -> None:
    code, challenges = user.code(), [user.challenge() for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda challenge: user.complete(code, challenge).status_code, challenges))
    assert sorted(answers) == [200] + [401] * 4


def test_recovery_codes_work_once_each_and_can_be_replaced(stack: Stack, user: Secured) -> None:
    first, second = user.recovery_codes[:2]
    assert user.complete(first.upper().replace("-", " ")).status_code == 200
    assert user.complete(first).status_code == 401
    wait_for_letter(stack, user.account.email, RECOVERED)
    assert user.rest.get("auth/second-factor").json()["recoveryCodesLeft"] == 9
    replaced = user.rest.post("auth/second-factor/recovery-codes", {}).json()["codes"]
    assert not set(replaced) & set(user.recovery_codes)
    assert user.complete(second).status_code == 401
    assert user.complete(replaced[0]).status_code == 200


def test_five_wrong_codes_lock_the_app_and_nothing_else(stack: Stack, user: Secured) -> None:
    challenge = user.challenge()
    for _ in range(5):
        assert reason(user.complete("000000", challenge)) == (401, "CREDENTIALS_INVALID")
    locked = user.complete(user.code(), challenge)
    assert reason(locked) == (429, "RATE_LIMITED")
    assert 800 < int(locked.headers["retry-after"]) <= 900
    assert "lockExpireTime" in user.rest.get("auth/second-factor").json()
    wait_for_letter(stack, user.account.email, LOCKED)
    # Neither the session nor the way out is taken from the owner.
    assert user.rest.get("auth/me").status_code == 200
    assert user.complete(user.recovery_codes[0], challenge).status_code == 200
    # Once the time is over, the right code unlocks the app.
    rows(
        stack,
        "UPDATE authenticators SET lock_expire_time = now() WHERE user_id = %s RETURNING user_id",
        user.account.id,
    )
    assert user.complete(user.code(), challenge).status_code == 200
    found = rows(stack, "SELECT failures, lock_expire_time FROM authenticators WHERE user_id = %s", user.account.id)
    assert found == [{"failures": 0, "lock_expire_time": None}]


def test_a_trial_or_a_retry_counts_no_code_twice(user: Secured) -> None:
    key = {"idempotency-key": "the-same-code"}
    body = {"challenge": user.challenge(), "code": user.code()}
    answers = [Rest(user.stack).post("auth/login/complete", body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["refreshToken"] == answers[1].json()["refreshToken"]


# Challenges ----------------------------------------------------------------------------------------------------------


def test_a_challenge_ends_with_the_password(stack: Stack, user: Secured) -> None:
    challenge = user.challenge()
    assert Rest(stack).post("auth/forgot-password", {"email": user.account.email}).status_code == 204
    token = token_from(stack, user.account.email, RESET)
    password = new_password()
    assert Rest(stack).post("auth/reset-password", {"token": token, "password": password}).status_code == 204
    assert user.complete(user.code(), challenge).status_code == 401
    # A password that was reset with a mail does not do without the code either.
    answer = Rest(stack).post("auth/login", {"email": user.account.email, "password": password}).json()
    assert answer["accessToken"] == ""
    assert user.complete(user.code(), answer["secondFactor"]["challenge"]).status_code == 200


@pytest.mark.parametrize("what", ["empty", "changed", "of another kind", "nonsense"])
def test_a_challenge_that_was_not_made_here_is_none(user: Secured, what: str) -> None:
    challenge = user.challenge()
    sent = {
        "empty": "psc_",
        "changed": challenge[:30] + ("A" if challenge[30] != "A" else "B") + challenge[31:],
        "of another kind": user.session.refresh_token,
        "nonsense": "psc_%%%",
    }[what]
    assert reason(user.complete(user.code(), sent)) == (401, "CREDENTIALS_INVALID")


def test_an_old_hash_is_replaced_though_a_code_is_needed_too(stack: Stack, user: Secured) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(user.account.password)
    rows(stack, "UPDATE users SET password_hash = %s WHERE id = %s RETURNING id", old, user.account.id)
    challenge = user.challenge()
    now = rows(stack, "SELECT password_hash FROM users WHERE id = %s", user.account.id)[0]["password_hash"]
    assert now != old
    assert user.complete(user.code(), challenge).status_code == 200


def test_a_wrong_password_tells_nothing_of_a_second_factor(user: Secured) -> None:
    body = {"email": user.account.email, "password": new_password()}
    answer = Rest(user.stack).post("auth/login", body)
    assert (answer.status_code, "secondFactor" in answer.text) == (401, False)


def test_a_challenge_lasts_ten_minutes() -> None:
    now, row = datetime.now(UTC), {"id": new_id(), "password_hash": "x"}
    challenge, expires = SignInChallenges(Secrets(b"x" * 40), lambda: now).new(row, None)
    secrets, second = Secrets(b"x" * 40), timedelta(seconds=1)
    assert SignInChallenges(secrets, lambda: expires - second).read(challenge).user_id == row["id"]
    with pytest.raises(Unauthenticated):
        SignInChallenges(secrets, lambda: expires + second).read(challenge)


def test_an_app_whose_secret_is_lost_leaves_the_recovery_codes(user: Secured) -> None:
    lost = "UPDATE authenticators SET secret = overlay(secret placing %s from 1) WHERE user_id = %s RETURNING user_id"
    rows(user.stack, lost, b"12345678", user.account.id)
    assert user.complete(user.code()).status_code == 401
    assert user.complete(user.recovery_codes[0]).status_code == 200


# The whole way -------------------------------------------------------------------------------------------------------


def test_from_the_sign_up_to_a_stolen_token(stack: Stack, tenant: Tenant) -> None:
    account = new_member(tenant, "member")[0]
    rest = Rest(stack)
    token = token_from(stack, account.email, VERIFY)
    assert rest.post("auth/verify-email", {"token": token}).status_code == 200
    user = secured(stack, account)
    session = Session.of(user.complete(user.code()))
    used = [session.refresh_token]
    for _ in range(3):
        used.append(Session.of(rest.post("auth/refresh", {"refreshToken": used[-1]})).refresh_token)
    assert len(set(used)) == 4
    assert reason(rest.post("auth/refresh", {"refreshToken": used[1]})) == (401, "REFRESH_TOKEN_REUSED")
    assert reason(rest.post("auth/refresh", {"refreshToken": used[-1]})) == (401, "SESSION_ENDED")
    assert Rest(stack, session.access_token).get("auth/me").status_code == 401
    wait_for_letter(stack, account.email, "A session of yours was ended")
    assert len(letters(stack, account.email, ENABLED)) == 1
    entries = tenant.rest.get("audit/logs", params={"filter": f'actor_id = "{account.id}"', "pageSize": 50}).json()
    told = {entry["action"] for entry in entries["auditEntries"]}
    assert {"session.refresh_token_reused", "session.second_factor_demanded", "user.second_factor_enabled"} <= told


def test_an_access_token_says_when_its_user_proved_who_they_are(user: Secured) -> None:
    claims = jwt.decode(user.session.access_token, options={"verify_signature": False})
    assert abs(claims["auth_time"] - claims["iat"]) <= 1


# Reset ---------------------------------------------------------------------------------------------------------------


def test_an_administrator_of_the_platform_removes_the_factor_of_who_has_lost_it(stack: Stack, user: Secured) -> None:
    path = f"admin/users/{user.account.id}/second-factor"
    owner = Rest(stack, new_tenant(stack).access_token)
    assert reason(owner.request("DELETE", path)) == (403, "PERMISSION_MISSING")
    admin = Rest(stack, new_platform_admin(stack).access_token)
    assert admin.request("DELETE", path).status_code == 204
    assert user.rest.get("auth/me").status_code == 401
    wait_for_letter(stack, user.account.email, "Your second factor was removed")
    session = log_in(stack, user.account)
    assert Rest(stack, session.access_token).get("auth/second-factor").json() == NONE
    # None of the recovery codes is left for the next one.
    left = rows(stack, "SELECT count(*) AS n FROM recovery_codes WHERE user_id = %s", user.account.id)
    assert left[0]["n"] == 0
    assert reason(admin.request("DELETE", path)) == (409, "STATE_FORBIDS")
    assert reason(admin.request("DELETE", f"admin/users/{new_id()}/second-factor")) == (404, "RESOURCE_NOT_FOUND")


def test_a_reset_needs_a_recent_proof(stack: Stack, user: Secured) -> None:
    admin = new_platform_admin(stack)
    old = Rest(stack, proven_long_ago(stack, admin, is_platform=True))
    refused = old.request("DELETE", f"admin/users/{user.account.id}/second-factor")
    assert reason(refused) == (403, "STEP_UP_REQUIRED")
