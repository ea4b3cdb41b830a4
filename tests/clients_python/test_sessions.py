"""Tokens renew themselves: shortly before they expire, when the server refuses them, and by one refresh at a time."""

import asyncio
import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from plinth.client import AsyncPlinth, Plinth, Unauthenticated
from plinth.client.errors import SecondFactorRequired
from plinth.client.sessions import Tokens
from plinth.identity.v1.auth_pb2 import CompleteLogInRequest, GetCurrentUserRequest, LogOutRequest
from plinth.sites.v1.page_pb2 import GetPageRequest

from server.kernel.guard.tokens import AccessTokens
from tests.clients import Tenant, log_in, sign_up
from tests.clients_python.double import Double
from tests.domains.identity.second_factors import secured
from tests.stack import Stack

WHO = GetCurrentUserRequest()
CALLERS = 16


def expired(tenant: Tenant) -> str:
    """An access token of the same session that has just expired."""
    settings = tenant.stack.settings
    tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=-1)
    return tokens.issue(tokens.verify(tenant.access_token))


def looks_good(lifetime: float) -> str:
    """A token that says of itself when it expires."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + lifetime}).encode()).decode().rstrip("=")
    return f"head.{claims}.signature"


def test_an_address_and_a_password_log_in_at_the_first_call(stack: Stack) -> None:
    account = sign_up(stack)
    with Plinth(stack.url, email=account.email, password=account.password) as client:
        assert client.tokens is None
        assert client.auth.get_current_user(WHO).user.id == account.id
        assert client.tokens
        assert client.tokens.refresh_token
        shown = f"{client!r} {client.tokens!r} {client.tokens}"
        for secret in (account.password, client.tokens.access_token, client.tokens.refresh_token):
            assert secret not in shown


def test_a_wrong_password_is_an_error_that_does_not_show_it(stack: Stack) -> None:
    account = sign_up(stack)
    with Plinth(stack.url, email=account.email, password="Wrong-1-password") as client:
        with pytest.raises(Unauthenticated) as caught:
            client.auth.get_current_user(WHO)
        assert caught.value.reason == "CREDENTIALS_INVALID"
        assert "Wrong-1-password" not in f"{caught.value!r} {caught.value} {client!r}"


def test_a_user_with_a_second_factor_is_told_to_bring_a_code(owner: Tenant) -> None:
    user = secured(owner.stack, sign_up(owner.stack))
    with Plinth(owner.stack.url, email=user.account.email, password=user.account.password) as client:
        with pytest.raises(SecondFactorRequired) as caught:
            client.auth.get_current_user(WHO)
        assert caught.value.challenge not in f"{caught.value!r} {caught.value}"
    request = CompleteLogInRequest(challenge=caught.value.challenge, code=user.code())
    with Plinth(owner.stack.url) as client:
        session = client.auth.complete_log_in(request)
    with Plinth(owner.stack.url, token=session.access_token, refresh_token=session.refresh_token) as client:
        assert client.auth.get_current_user(WHO).user.id == user.account.id


@pytest.mark.parametrize("token", ["expired", "refused", "none"])
def test_a_token_that_is_good_no_more_is_renewed(owner: Tenant, token: str) -> None:
    session = log_in(owner.stack, owner.owner)
    given = {"expired": expired(owner), "refused": "nonsense", "none": None}[token]
    with Plinth(owner.stack.url, token=given, refresh_token=session.refresh_token) as client:
        assert client.auth.get_current_user(WHO).user.id == owner.owner.id
        assert client.tokens
        assert client.tokens.refresh_token != session.refresh_token


def test_for_asyncio_too(owner: Tenant) -> None:
    session = log_in(owner.stack, owner.owner)

    async def work() -> None:
        async with AsyncPlinth(owner.stack.url, token="nonsense", refresh_token=session.refresh_token) as client:
            who = await asyncio.gather(*(client.auth.get_current_user(WHO) for _ in range(CALLERS)))
            assert {each.user.id for each in who} == {owner.owner.id}
        account = owner.owner
        async with AsyncPlinth(owner.stack.url, email=account.email, password=account.password) as client:
            await client.switch_tenant(owner.id)
            assert (await client.auth.get_current_user(WHO)).tenant_id == owner.id

    asyncio.run(work())


def test_a_session_that_was_ended_is_an_error(owner: Tenant) -> None:
    session = log_in(owner.stack, owner.owner)
    with Plinth(owner.stack.url, token=session.access_token, refresh_token=session.refresh_token) as client:
        client.auth.log_out(LogOutRequest())
        with pytest.raises(Unauthenticated):
            client.auth.get_current_user(WHO)


def test_threads_renew_a_token_once(double: Double, impatient: Plinth) -> None:
    double.good_token = "second"
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = pool.map(lambda number: impatient.pages.get_page(GetPageRequest(page_id=number)), "abcdefgh" * 4)
        assert [answer.id for answer in answers] == list("abcdefgh" * 4)
    assert double.refreshes == ["refresh-1"]


def test_tasks_renew_a_token_once(double: Double) -> None:
    double.good_token = "second"

    async def work() -> None:
        async with AsyncPlinth(double.url, token="first", refresh_token="refresh-1") as client:
            await asyncio.gather(*(client.pages.get_page(GetPageRequest(page_id="a")) for _ in range(CALLERS)))

    asyncio.run(work())
    assert double.refreshes == ["refresh-1"]


def test_a_token_is_renewed_before_it_expires(double: Double) -> None:
    with Plinth(double.url, token=looks_good(-1), refresh_token="refresh-1") as client:
        for _ in range(3):
            client.pages.get_page(GetPageRequest())
    assert double.refreshes == ["refresh-1"]
    assert {call["authorization"] for call in double.calls} == {"Bearer access-1"}


def test_a_token_is_due_in_the_last_part_of_its_life() -> None:
    now = time.monotonic()
    assert Tokens("a", "r", lifetime=900, expires_at=now + 59).is_due
    assert not Tokens("a", "r", lifetime=900, expires_at=now + 70).is_due
    assert Tokens("a", "r", lifetime=10, expires_at=now + 1).is_due
    assert not Tokens("a", "r", lifetime=10, expires_at=now + 5).is_due
    assert not Tokens("a", lifetime=10, expires_at=now - 1).is_due


def test_a_refused_token_is_renewed_once_only(double: Double, impatient: Plinth) -> None:
    double.good_token, double.given_token = "good", "useless"
    with pytest.raises(Unauthenticated) as caught:
        impatient.pages.get_page(GetPageRequest())
    assert caught.value.reason == "TOKEN_EXPIRED"
    assert (len(double.refreshes), len(double.calls)) == (1, 2)


def test_arguments_that_mean_nothing_together_are_refused() -> None:
    for arguments, words in (
        ({"api_key": "k", "token": "t"}, "pass one of"),
        ({"email": "a@example.com"}, "belong together"),
        ({"tenant": "acme"}, "tenant belongs to"),
    ):
        with pytest.raises(ValueError, match=words):
            Plinth("http://127.0.0.1", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8080", "has to be a URL"),
        ("ftp://host", "has to be a URL"),
        ("https://user:secret@host", "may not contain credentials"),
        ("https://host/api", "has to end after"),
    ],
)
def test_an_address_that_means_nothing_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Plinth(url)
    assert "secret" not in str(caught.value)
