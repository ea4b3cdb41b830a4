"""Passkeys: made and used by an authenticator in software, which can also do so wrongly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fido2.cose import ES384, EdDSA
from fido2.webauthn import AuthenticatorData
from hypothesis import given
from hypothesis import strategies as st

from server.domains.identity.passkey_ceremonies import PasskeyCeremonies, WrongPasskey
from server.domains.identity.settings import IdentitySettings
from server.kernel.clock import Clock, utc_now
from tests.clients import Account, Rest, Session, Tenant, log_in, new_member, new_tenant, problem, reason, rows
from tests.domains.identity.authenticator import VERIFIED, Authenticator
from tests.domains.identity.letters import wait_for_letter
from tests.domains.identity.second_factors import secured
from tests.stack import Stack

REGISTRATION, PASSKEYS, LOGIN = "auth/passkey-registration", "auth/passkeys", "auth/login/passkey"


class User:
    """Somebody signed in, with an authenticator."""

    def __init__(self, tenant: Tenant) -> None:
        self.stack = tenant.stack
        self.account, self.session = new_member(tenant, "member")
        self.rest = Rest(self.stack, self.session.access_token)
        self.authenticator = Authenticator(self.stack.settings.api_address("localhost"))

    def options(self) -> Any:
        """Those to make a passkey."""
        answer = self.rest.get(REGISTRATION)
        assert answer.status_code == 200, answer.text
        return answer.json()["options"]

    def register(self, **facts: Any) -> Any:
        """The answer to a passkey that was made."""
        made = self.authenticator.create(self.options())
        return self.rest.post(PASSKEYS, {"credential": made, **facts})

    def log_in(self, **facts: Any) -> Any:
        """The answer to a sign-in with the passkey."""
        return Rest(self.stack).post(LOGIN, {"credential": self.answer(), **facts})

    def answer(self) -> dict[str, Any]:
        """The passkey's answer to new options."""
        return self.authenticator.get(login_options(self.stack))


def login_options(stack: Stack) -> Any:
    """Those to sign in."""
    answer = Rest(stack).get(LOGIN)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["options"]


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def user(tenant: Tenant) -> User:
    return User(tenant)


# The right way -------------------------------------------------------------------------------------------------------


def test_a_passkey_signs_in_without_the_password(stack: Stack, tenant: Tenant, user: User) -> None:
    options = user.options()
    assert options["rp"] == {"name": "Plinth", "id": "localhost"}
    assert options["user"]["name"] == user.account.email
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert [each["alg"] for each in options["pubKeyCredParams"]] == [-7, -8, -257]
    made = user.register(name="My phone")
    assert made.status_code == 200, made.text
    assert (made.json()["name"], made.json()["isSynced"]) == ("My phone", False)
    wait_for_letter(stack, user.account.email, "A passkey was added")
    # Whoever has it makes no second one on the same authenticator.
    assert [each["id"] for each in user.options()["excludeCredentials"]] == [user.answer()["id"]]

    session = Session.of(user.log_in())
    assert (session.tenant_id, session.roles) == (tenant.id, ("member",))
    assert Rest(stack, session.access_token).get("auth/me").json()["user"]["id"] == user.account.id
    shown = user.rest.get(PASSKEYS).json()["passkeys"]
    assert [(each["id"], "lastUseTime" in each) for each in shown] == [(made.json()["id"], True)]


def test_a_passkey_needs_no_code(user: User) -> None:
    assert user.register().status_code == 200
    secured(user.stack, user.account)
    assert Session.of(user.log_in()).access_token


def test_a_tenant_can_be_named(user: User, tenant: Tenant) -> None:
    user.register()
    assert Session.of(user.log_in(tenant=tenant.subdomain)).tenant_id == tenant.id
    other = new_tenant(user.stack)
    assert reason(user.log_in(tenant=other.subdomain)) == (401, "CREDENTIALS_INVALID")


def test_passkeys_are_renamed_and_removed(stack: Stack, user: User) -> None:
    passkey = user.register().json()
    assert passkey["name"] == "Passkey"
    path = f"{PASSKEYS}/{passkey['id']}"
    assert user.rest.patch(path, {"name": "Old phone"}).json()["name"] == "Old phone"
    assert user.rest.delete(path).status_code == 204
    wait_for_letter(stack, user.account.email, "A passkey was removed")
    assert user.rest.get(PASSKEYS).json() == {"passkeys": []}
    assert reason(user.log_in()) == (401, "CREDENTIALS_INVALID")
    assert reason(user.rest.delete(path)) == (404, "RESOURCE_NOT_FOUND")


def test_nobody_reaches_the_passkeys_of_others(tenant: Tenant, user: User) -> None:
    path = f"{PASSKEYS}/{user.register().json()['id']}"
    other = User(tenant)
    assert other.rest.get(PASSKEYS).json() == {"passkeys": []}
    assert reason(other.rest.patch(path, {"name": "Mine"})) == (404, "RESOURCE_NOT_FOUND")
    assert reason(other.rest.delete(path)) == (404, "RESOURCE_NOT_FOUND")
    assert user.log_in().status_code == 200


@pytest.mark.parametrize("flag", [AuthenticatorData.FLAG.BE, AuthenticatorData.FLAG.BE | AuthenticatorData.FLAG.BS])
def test_a_passkey_tells_whether_it_is_synced(user: User, flag: AuthenticatorData.FLAG) -> None:
    user.authenticator.flags = VERIFIED | flag
    assert user.register().json()["isSynced"] is bool(flag & AuthenticatorData.FLAG.BS)


def test_a_passkey_that_does_not_count_works_again_and_again(user: User) -> None:
    user.authenticator.step = 0
    user.register()
    assert [user.log_in().status_code for _ in range(2)] == [200, 200]


def test_there_are_twenty_of_them(user: User) -> None:
    for _ in range(20):
        user.authenticator = Authenticator(user.authenticator.origin)
        assert user.register().status_code == 200
    user.authenticator = Authenticator(user.authenticator.origin)
    answer = user.register()
    assert reason(answer) == (409, "LIMIT_REACHED")
    assert problem(answer).metadata["limit"] == "20"


# Wrong ways ----------------------------------------------------------------------------------------------------------


@contextmanager
def unchanged(stack: Stack, account: Account) -> Iterator[None]:
    """Nothing is noted of the user's passkeys meanwhile."""
    question = "SELECT sign_count, last_use_time FROM passkeys WHERE user_id = %s"
    before = rows(stack, question, account.id)
    yield
    assert rows(stack, question, account.id) == before


WRONG: dict[str, Callable[[Authenticator], Authenticator]] = {
    "of another page": lambda one: replace(one, origin="https://evil.example"),
    "of a page of another port": lambda one: replace(one, origin="http://localhost:1"),
    "in a page of another one": lambda one: replace(one, is_embedded=True),
    "of another domain": lambda one: replace(one, rp_id="evil.example"),
    "without a look at the user": lambda one: replace(one, flags=AuthenticatorData.FLAG.UP),
    "without the user": lambda one: replace(one, flags=AuthenticatorData.FLAG.UV),
    "of another key": lambda one: replace(one, key=ec.generate_private_key(ec.SECP256R1())),
    "of a passkey that nobody has": lambda one: replace(one, credential_id=b"another passkey!"),
    "of another user": lambda one: replace(one, user_handle=b"somebody else..."),
    "of a copy that has counted less": lambda one: replace(one, step=0),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_is_refused(user: User, what: str) -> None:
    user.authenticator.count = 7
    user.register()
    wrong = WRONG[what](user.authenticator)
    with unchanged(user.stack, user.account):
        answer = Rest(user.stack).post(LOGIN, {"credential": wrong.get(login_options(user.stack))})
        assert reason(answer) == (401, "CREDENTIALS_INVALID")
        assert answer.json()["message"] == "The passkey is not valid here."
    assert user.log_in().status_code == 200


@pytest.mark.parametrize(
    "what", ["of another page", "in a page of another one", "of another domain", "without a look at the user"]
)
def test_a_passkey_that_was_made_so_is_not_taken(user: User, what: str) -> None:
    user.authenticator = WRONG[what](user.authenticator)
    assert problem(user.register()).rules == ("passkey.wrong",)
    assert user.rest.get(PASSKEYS).json() == {"passkeys": []}


def test_an_answer_is_taken_once(user: User) -> None:
    user.register()
    user.authenticator.step = 0
    answer = user.answer()
    assert Rest(user.stack).post(LOGIN, {"credential": answer}).status_code == 200
    assert reason(Rest(user.stack).post(LOGIN, {"credential": answer})) == (401, "CREDENTIALS_INVALID")


def test_a_challenge_is_for_what_it_was_made_for(user: User) -> None:
    user.register()
    # Options to make a passkey, answered as a sign-in; and the other way round.
    made_for_registration = {**user.options(), "rpId": "localhost"}
    answer = user.authenticator.get(made_for_registration)
    assert reason(Rest(user.stack).post(LOGIN, {"credential": answer})) == (401, "CREDENTIALS_INVALID")
    another = Authenticator(user.authenticator.origin)
    options = {**user.options(), "challenge": login_options(user.stack)["challenge"]}
    assert problem(user.rest.post(PASSKEYS, {"credential": another.create(options)})).rules == ("passkey.wrong",)


def test_options_of_another_session_make_no_passkey(user: User) -> None:
    options = user.options()
    elsewhere = Rest(user.stack, log_in(user.stack, user.account).access_token)
    answer = elsewhere.post(PASSKEYS, {"credential": user.authenticator.create(options)})
    assert problem(answer).rules == ("passkey.wrong",)


def test_a_passkey_is_registered_once(tenant: Tenant, user: User) -> None:
    user.register()
    other = User(tenant)
    other.authenticator = replace(user.authenticator)
    assert reason(other.register()) == (409, "RESOURCE_TAKEN")


def test_only_kinds_of_keys_that_were_asked_for_are_taken(user: User) -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    user.authenticator.public_key = ES384.from_cryptography_key(other)  # type: ignore[no-untyped-call]
    assert problem(user.register()).rules == ("passkey.wrong",)
    wanted = Ed25519PrivateKey.generate().public_key()
    user.authenticator.public_key = EdDSA.from_cryptography_key(wanted)  # type: ignore[no-untyped-call]
    assert user.register().status_code == 200


def test_an_erased_user_signs_in_no_more(user: User) -> None:
    user.register()
    rows(user.stack, "UPDATE users SET delete_time = now() WHERE id = %s RETURNING id", user.account.id)
    assert reason(user.log_in()) == (401, "CREDENTIALS_INVALID")


# What is no answer at all --------------------------------------------------------------------------------------------


def ceremonies(stack: Stack, clock: Clock = utc_now) -> PasskeyCeremonies:
    """Those of the stack."""
    origins = [stack.settings.api_address("localhost")]
    return PasskeyCeremonies(stack.settings.secrets, clock, name="Plinth", domain="localhost", origins=origins)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_part = st.sampled_from(["id", "rawId", "response", "type", "clientExtensionResults", "authenticatorAttachment"])
_inner = st.sampled_from(["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"])


@given(damage=_json, part=_part, inner=st.none() | _inner, nested=st.integers(min_value=0, max_value=3000))
def test_whatever_a_browser_sends_is_an_answer_or_is_none(
    stack: Stack, damage: Any, part: str, inner: str | None, nested: int
) -> None:
    one = ceremonies(stack)
    made, _ = one.creation_options("x", (b"1" * 16, "ada@example.com", "Ada"), [])
    asked, _ = one.request_options()
    authenticator = Authenticator(stack.settings.api_address("localhost"))
    for kind, answer in (("made", authenticator.create(dict(made))), ("got", authenticator.get(dict(asked)))):
        if inner is not None:
            # Nested so deep that a reader runs out of stack.
            answer["response"][inner] = damage if nested % 2 else "gYGB" * nested
        else:
            answer[part] = damage
        try:
            if kind == "made":
                one.made("x", answer)
            else:
                one.read(answer)
        except WrongPasskey:
            continue


def test_a_challenge_lasts_ten_minutes(stack: Stack) -> None:
    options, expires = ceremonies(stack).request_options()
    answer = Authenticator(stack.settings.api_address("localhost")).get(dict(options))
    assert ceremonies(stack, lambda: expires - timedelta(seconds=2)).read(answer).credential_id
    with pytest.raises(WrongPasskey):
        ceremonies(stack, lambda: expires + timedelta(seconds=2)).read(answer)


@pytest.mark.parametrize(
    ("given_settings", "domain", "origins"),
    [
        ({}, "localhost", {"http://localhost:8080"}),
        ({"identity_app_url": "https://app.example.com/start"}, "app.example.com", {"https://app.example.com"}),
        (
            {
                "identity_app_url": "https://app.example.com",
                "identity_passkey_domain": "example.com",
                "identity_passkey_origins": "https://app.example.com,https://shop.example.com",
            },
            "example.com",
            {"https://app.example.com", "https://shop.example.com"},
        ),
    ],
)
def test_passkeys_belong_to_the_front_end(given_settings: dict[str, str], domain: str, origins: set[str]) -> None:
    settings = IdentitySettings(**given_settings)  # type: ignore[arg-type]
    assert settings.passkey_domain() == domain
    assert settings.passkey_origins("http://localhost:8080") == origins
