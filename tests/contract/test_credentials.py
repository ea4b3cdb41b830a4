"""Whoever may not call is refused, at every RPC: without credentials, with dead ones, with ones that are not enough."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest

from server import app
from server.kernel.clock import utc_now
from server.kernel.guard.tokens import AccessTokens
from server.kernel.policy import Access, MethodPolicy
from tests.clients import Problem, Rest, log_in, new_member, sign_up
from tests.contract import doors, owned, wall
from tests.contract.wall import House
from tests.stack import Stack

METHODS = list(app.policies().values())
GUARDED = [method for method in METHODS if method.access not in (Access.PUBLIC, Access.PROVIDER_SIGNATURE)]
OF_PROVIDERS = [method for method in METHODS if method.access is Access.PROVIDER_SIGNATURE]
IN_TENANT = [method for method in METHODS if method.access is Access.PERMISSION]
OF_PLATFORM = [method for method in METHODS if method.access is Access.PLATFORM]
OF_ANYONE = [method for method in METHODS if method.takes_api_keys]
OF_USERS = [method for method in METHODS if method.access is Access.SIGNED_IN and not method.takes_api_keys]
# What anyone may call, each with the reason.
PUBLIC = {
    "SignUp": "who signs up has no credentials yet",
    "LogIn": "they are what it gives",
    "CompleteLogIn": "its challenge is the credential",
    "StartPasskeyLogIn": "who signs in has no credentials yet",
    "LogInWithPasskey": "they are what it gives",
    "GetCsrfToken": "random, and of nobody",
    "ListIdentityProviders": "who signs in has no credentials yet",
    "StartFederatedLogIn": "who signs in has no credentials yet",
    "LogInWithIdentityProvider": "the code of the provider is the credential",
    "PassOnFederatedForm": "it only sends a browser on, to a page of the settings",
    "RefreshToken": "its refresh token is the credential",
    "VerifyEmail": "the token from the mail is the credential",
    "ResetPassword": "the token from the mail is the credential",
    "ValidateInvitation": "the token from the mail is the credential",
    "GetUnsubscribePage": "the token from the mail is the credential",
    "Unsubscribe": "the token from the mail is the credential",
    "AcceptInvitation": "the token from the mail is the credential",
    "ForgotPassword": "who forgot the password has no other",
    "ResendVerification": "who signed up may not be signed in",
    "ListJsonWebKeys": "public keys",
    "ShowPublishedPage": "visitors of a site have none",
    "GetPublishedPage": "visitors of a site have none",
    "GetSiteMap": "search engines have none",
    "GetRobotsFile": "robots have none",
    "DownloadAsset": "a signature of the URL is the credential, and what is public needs none",
    **dict.fromkeys(
        ("GetHealth", "GetDatabaseHealth", "GetRedisHealth", "GetServicesHealth", "GetStreamsHealth"),
        "probes have no credentials",
    ),
    "ListCheckpointKeys": "public keys",
    "ListEventTypes": "it is documentation, the same for everyone",
    "GetOpenApiDocument": "it is documentation, the same for everyone",
}
UNAUTHENTICATED, DENIED, NOT_FOUND = (
    code.value[0]
    for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)
)


def name_of(method: MethodPolicy) -> str:
    return method.name


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def other(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with doors.channel(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def refused(channel: grpc.Channel, house: House) -> Callable[[MethodPolicy, str], Problem]:
    """What is answered to an RPC in the house, with these credentials. Whatever it names is there."""
    return lambda method, secret: refusal(channel, house, method, secret)


def refusal(channel: grpc.Channel, house: House, method: MethodPolicy, secret: str) -> Problem:
    problem = doors.Grpc(channel, secret).call(method, house.request(method)).problem
    assert problem is not None
    return problem


Refused = Callable[[MethodPolicy, str], Problem]


@pytest.fixture(scope="module")
def catalogue(house: House) -> set[str]:
    found = house.tenant.rest.get("rbac/permissions").json()["permissions"]
    return {permission["name"] for permission in found}


@pytest.fixture(scope="module")
def key_without(house: House, catalogue: set[str]) -> Callable[[str], str]:
    """An API key that may do everything but this."""
    known: dict[str, str] = {}

    def make(permission: str) -> str:
        if permission not in known:
            body: dict[str, Any] = {"name": "Lacking", "permissions": sorted(catalogue - {permission})}
            answer = house.tenant.rest.post(f"{house.tenant.path}/api-keys", body)
            assert answer.status_code == 201, answer.text
            known[permission] = answer.json()["key"]
        return known[permission]

    return make


def tokens_of(stack: Stack, age: timedelta = timedelta()) -> AccessTokens:
    """What the stack itself signs with, so long ago."""
    settings = stack.settings
    issuer, lifetime = settings.token_issuer, settings.access_token_lifetime
    return AccessTokens(settings.secrets, issuer=issuer, lifetime=lifetime, clock=lambda: utc_now() - age)


@pytest.fixture(scope="module")
def expired(stack: Stack, house: House) -> str:
    """A token of the owner that was good an hour ago."""
    owner = tokens_of(stack).verify(house.tenant.access_token)
    return tokens_of(stack, timedelta(hours=1)).issue(owner)


@pytest.fixture(scope="module")
def former_admin(stack: Stack, house: House) -> str:
    """The token of an owner who administered the platform when it was made."""
    tokens = tokens_of(stack)
    return tokens.issue(replace(tokens.verify(house.tenant.access_token), is_platform=True))


@pytest.fixture(scope="module")
def idler(house: House) -> str:
    """The token of a member without a role."""
    return new_member(house.tenant)[1].access_token


@pytest.fixture(scope="module")
def homeless(stack: Stack) -> str:
    """The token of somebody without a tenant."""
    return log_in(stack, sign_up(stack)).access_token


def test_public_is_what_is_meant_to_be() -> None:
    assert {method.name for method in METHODS if method.access is Access.PUBLIC} == PUBLIC.keys()


def test_every_rpc_is_tried() -> None:
    assert {*IN_TENANT, *OF_PLATFORM, *OF_USERS, *OF_ANYONE} == {*GUARDED}


@pytest.mark.parametrize("method", OF_PROVIDERS, ids=name_of)
def test_what_no_provider_has_signed_opens_nothing(refused: Refused, house: House, method: MethodPolicy) -> None:
    """The credentials of an owner are no signature."""
    for secret in ("", house.tenant.access_token):
        problem = refused(method, secret)
        assert (problem.code, problem.reason) == (UNAUTHENTICATED, "CREDENTIALS_INVALID")


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_an_expired_token_opens_nothing(refused: Refused, expired: str, method: MethodPolicy) -> None:
    problem = refused(method, expired)
    assert (problem.code, problem.reason) == (UNAUTHENTICATED, "TOKEN_EXPIRED")


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_a_key_that_nobody_made_opens_nothing(refused: Refused, method: MethodPolicy) -> None:
    for secret in ("sn_live_", "sn_live_" + "x" * 43, "sn_test_" + "A" * 43):
        problem = refused(method, secret)
        assert (problem.code, problem.reason) == (UNAUTHENTICATED, "CREDENTIALS_INVALID")


@pytest.mark.parametrize("method", IN_TENANT, ids=name_of)
def test_a_key_that_lacks_the_one_permission_is_refused(
    refused: Refused, key_without: Callable[[str], str], method: MethodPolicy
) -> None:
    problem = refused(method, key_without(method.permission))
    assert (problem.code, problem.reason) == (DENIED, "PERMISSION_MISSING")
    assert problem.metadata == {"permission": method.permission}


@pytest.mark.parametrize("method", owned.OWNED, ids=name_of)
def test_a_key_owns_nothing_and_needs_a_permission_to_see_what_users_own(
    channel: grpc.Channel, another: Callable[[], House], catalogue: set[str], method: MethodPolicy
) -> None:
    """Whatever its request names is there. Where the state of a thing forbids the call, it was reached."""
    house = another()
    request = house.request(method)
    for sees_all, lacking in ((False, {owned.seen_by(method)}), (True, set[str]())):
        body: dict[str, Any] = {"name": "Seeing", "permissions": sorted(catalogue - lacking)}
        answer = house.tenant.rest.post(f"{house.tenant.path}/api-keys", body)
        assert answer.status_code == 201, answer.text
        problem = doors.Grpc(channel, answer.json()["key"]).call(method, request).problem
        refused_with = owned.refusal_of_key(method, request, sees_all=sees_all)
        if refused_with:
            assert problem is not None
            assert (problem.code, problem.reason) == (DENIED, refused_with)
            assert problem.metadata["permission"] == owned.seen_by(method)
        elif owned.is_absent_for_key(method, sees_all=sees_all):
            assert problem is not None
            assert problem.reason == "RESOURCE_NOT_FOUND"
        else:
            assert problem is None or problem.reason == "STATE_FORBIDS", problem


@pytest.mark.parametrize("method", IN_TENANT, ids=name_of)
def test_a_member_without_a_role_is_refused(refused: Refused, idler: str, method: MethodPolicy) -> None:
    problem = refused(method, idler)
    assert (problem.code, problem.reason) == (DENIED, "PERMISSION_MISSING")
    assert problem.metadata == {"permission": method.permission}


@pytest.mark.parametrize("method", IN_TENANT, ids=name_of)
def test_who_belongs_to_no_tenant_is_refused(refused: Refused, homeless: str, method: MethodPolicy) -> None:
    problem = refused(method, homeless)
    named = (NOT_FOUND, "RESOURCE_NOT_FOUND") if method.has_tenant else (DENIED, "TENANT_MISSING")
    assert (problem.code, problem.reason) == named


@pytest.mark.parametrize("method", OF_PLATFORM, ids=name_of)
def test_what_is_the_platform_s_is_refused_to_everybody_in_a_tenant(
    refused: Refused, key_without: Callable[[str], str], house: House, method: MethodPolicy
) -> None:
    for secret in (house.tenant.access_token, key_without("")):
        problem = refused(method, secret)
        assert (problem.code, problem.reason) == (DENIED, "PERMISSION_MISSING")
        assert problem.metadata == {"permission": method.permission}


@pytest.mark.parametrize("method", OF_PLATFORM, ids=name_of)
def test_a_former_administrator_is_one_no_more(refused: Refused, former_admin: str, method: MethodPolicy) -> None:
    problem = refused(method, former_admin)
    assert (problem.code, problem.reason) == (DENIED, "PERMISSION_MISSING")


@pytest.mark.parametrize("method", [method for method in IN_TENANT if method.has_tenant], ids=name_of)
def test_a_former_administrator_gets_into_no_other_tenant(
    channel: grpc.Channel, other: House, former_admin: str, method: MethodPolicy
) -> None:
    problem = refusal(channel, other, method, former_admin)
    assert (problem.code, problem.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")


def test_a_former_administrator_sees_their_own_tenants_alone(stack: Stack, house: House, former_admin: str) -> None:
    listed = Rest(stack, former_admin).get("tenants", {"includeTotal": "true"}).json()
    assert ([tenant["id"] for tenant in listed["tenants"]], listed["totalSize"]) == ([house.tenant.id], 1)


@pytest.mark.parametrize("method", OF_ANYONE, ids=name_of)
def test_what_anyone_reads_needs_neither_a_tenant_nor_a_permission(
    channel: grpc.Channel, house: House, idler: str, homeless: str, method: MethodPolicy
) -> None:
    body = {"name": "Weak", "permissions": ["sites.pages.read"]}
    key = house.tenant.rest.post(f"{house.tenant.path}/api-keys", body).json()["key"]
    for secret in (house.tenant.access_token, idler, homeless, key):
        assert doors.Grpc(channel, secret).call(method, house.request(method)).problem is None


@pytest.mark.parametrize("method", OF_USERS, ids=name_of)
def test_what_only_people_do_is_refused_to_keys(
    refused: Refused, key_without: Callable[[str], str], method: MethodPolicy
) -> None:
    problem = refused(method, key_without(""))
    assert (problem.code, problem.reason) == (DENIED, "USER_REQUIRED")
