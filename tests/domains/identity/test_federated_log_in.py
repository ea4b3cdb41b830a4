"""Signing in at a certified provider of OpenID Connect, which runs on loopback."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients import (
    Account,
    Rest,
    Session,
    log_in,
    new_address,
    new_password,
    new_tenant,
    problem,
    reason,
    rows,
    sign_up,
)
from tests.domains.identity.letters import RESET, token_from, wait_for_letter
from tests.domains.identity.oidc import CLIENT_ID, CLIENT_SECRET, PAGE, certified_provider, sign_in_there
from tests.domains.identity.second_factors import proven_long_ago, secured
from tests.mailbox import mail_server, mailbox_of
from tests.node.packages import needs_npm
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, needs_npm]
BASE = "auth/oauth/acme"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with certified_provider(tmp_path_factory.mktemp("oidc-provider")) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def open_stack(issuer: str) -> Iterator[Stack]:
    """A stack at which users of that provider sign in."""
    acme = {"issuer": issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "name": "Acme"}
    stack = Stack(identity_oauth_providers=json.dumps({"acme": acme}), identity_oauth_redirect_urls=PAGE)
    with mail_server(mailbox_of(stack).folder) as url:
        stack.set(communication_smtp_url=url)
        try:
            yield stack.start()
        finally:
            stack.remove()


class Page:
    """A page that lets somebody sign in at the provider."""

    def __init__(self, stack: Stack, email: str = "", *, verified: bool = True) -> None:
        self.stack = stack
        self.email = email or new_address()
        self.login = f"id-of-{self.email}~{self.email}~{'yes' if verified else 'no'}"
        self.rest = Rest(stack)

    def begin(self, **query: str) -> Any:
        """An attempt."""
        answer = self.rest.get(f"{BASE}/authorize", query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    def come_back(self, begun: Any) -> dict[str, str]:
        """What the page has when the browser has come back."""
        back = sign_in_there(begun["url"], self.login)
        assert back["state"] == begun["state"]
        return {**back, "attempt": begun["attempt"]}

    def sign_in(self, **query: str) -> httpx.Response:
        """The whole way."""
        return self.rest.post(f"{BASE}/callback", self.come_back(self.begin(**query)))

    def link(self, session: Session) -> httpx.Response:
        """Link this identity to somebody who is signed in."""
        rest = Rest(self.stack, session.access_token)
        begun = rest.get(f"{BASE}/link").json()
        return rest.post(f"{BASE}/link", self.come_back(begun))


def test_providers_are_listed(open_stack: Stack) -> None:
    for path in ("auth/oauth/providers", "auth/providers"):
        assert Rest(open_stack).get(path).json() == {"providers": [{"id": "acme", "name": "Acme"}]}


def test_a_newcomer_gets_an_account_and_comes_back_to_it(open_stack: Stack) -> None:
    page = Page(open_stack)
    first = page.sign_in()
    session = Session.of(first)
    user = first.json()["user"]
    assert (user["email"], user["firstName"], user["lastName"]) == (page.email, "Ada", "Lovelace")
    # The provider vouches for the address.
    assert user["emailVerifyTime"]
    shown = Rest(open_stack, session.access_token).get("auth/oauth/identities").json()["identities"]
    assert [(each["provider"], each["email"]) for each in shown] == [("acme", page.email)]
    assert page.sign_in().json()["user"]["id"] == user["id"]
    told = rows(open_stack, "SELECT type FROM events WHERE resource_id = %s", user["id"])
    assert [row["type"] for row in told].count("user.signed_up") == 1


def test_the_redirect_of_the_provider_can_be_followed_with_get(open_stack: Stack) -> None:
    page = Page(open_stack)
    answer = page.rest.get(f"{BASE}/callback", page.come_back(page.begin()))
    assert Session.of(answer).access_token


def test_a_newcomer_joins_the_tenant_that_takes_sign_ups(open_stack: Stack) -> None:
    tenant = new_tenant(open_stack)
    closed = Page(open_stack).sign_in(tenant=tenant.subdomain)
    assert reason(closed) == (403, "SIGN_UP_CLOSED")
    assert tenant.rest.patch(tenant.path, {"signUpOpen": True}).status_code == 200
    assert Session.of(Page(open_stack).sign_in(tenant=tenant.subdomain)).tenant_id == tenant.id


def test_an_address_alone_signs_in_to_no_account(open_stack: Stack) -> None:
    account = sign_up(open_stack)
    page = Page(open_stack, account.email)
    assert reason(page.sign_in()) == (409, "RESOURCE_TAKEN")
    linked = page.link(log_in(open_stack, account))
    assert linked.json()["email"] == account.email
    wait_for_letter(open_stack, account.email, "Another way to sign in was linked")
    assert page.sign_in().json()["user"]["id"] == account.id


def test_an_address_that_nobody_vouches_for_makes_no_account(open_stack: Stack) -> None:
    refused = Page(open_stack, verified=False).sign_in()
    assert reason(refused) == (409, "PROVIDER_REFUSED")
    assert problem(refused).metadata["provider_code"] == "email_unverified"


def test_a_second_factor_is_asked_for_here_too(open_stack: Stack) -> None:
    account = sign_up(open_stack)
    user = secured(open_stack, account)
    page = Page(open_stack)
    assert page.link(user.session).status_code == 200
    answer = page.sign_in().json()
    assert answer["accessToken"] == ""
    assert Session.of(user.complete(user.code(), answer["secondFactor"]["challenge"])).access_token


def test_several_identities_are_linked_and_each_to_one_user(open_stack: Stack) -> None:
    session = log_in(open_stack, sign_up(open_stack))
    pages = [Page(open_stack), Page(open_stack)]
    assert [page.link(session).status_code for page in pages] == [200, 200]
    assert reason(pages[0].link(session)) == (409, "RESOURCE_TAKEN")
    other = log_in(open_stack, sign_up(open_stack))
    assert reason(pages[0].link(other)) == (409, "RESOURCE_TAKEN")
    rest = Rest(open_stack, session.access_token)
    one = rest.get("auth/oauth/identities").json()["identities"][0]["id"]
    assert rest.delete(f"{BASE}/link?identityId={one}").status_code == 204
    assert len(rest.get("auth/oauth/identities").json()["identities"]) == 1
    assert rest.delete(f"{BASE}/link").status_code == 204
    assert reason(rest.delete(f"{BASE}/link")) == (404, "RESOURCE_NOT_FOUND")


def test_the_last_way_to_sign_in_stays(open_stack: Stack) -> None:
    page = Page(open_stack)
    session = Session.of(page.sign_in())
    rest = Rest(open_stack, session.access_token)
    assert reason(rest.delete(f"{BASE}/link")) == (409, "STATE_FORBIDS")
    # No password signs in, whatever it is.
    for password in ("", "nobody has this password", new_password()):
        body = {"email": page.email, "password": password}
        assert Rest(open_stack).post("auth/login", body).status_code in (401, 422)
    assert Rest(open_stack).post("auth/forgot-password", {"email": page.email}).status_code == 204
    token, password = token_from(open_stack, page.email, RESET), new_password()
    assert Rest(open_stack).post("auth/reset-password", {"token": token, "password": password}).status_code == 204
    again = log_in(open_stack, Account(page.email, password, ""))
    assert Rest(open_stack, again.access_token).delete(f"{BASE}/link").status_code == 204


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_a_link_of_somebody_else_signs_nobody_in(open_stack: Stack) -> None:
    """Forged requests to sign in (RFC 9700, 4.7): the code and the state are the attacker's, the attempt is not."""
    attacker, victim = Page(open_stack), Page(open_stack)
    theirs, own = attacker.come_back(attacker.begin()), victim.begin()
    answer = victim.rest.post(f"{BASE}/callback", {**theirs, "attempt": own["attempt"]})
    assert reason(answer) == (401, "CREDENTIALS_INVALID")
    # A code under another attempt's state fails at the provider: its verifier is another one.
    answer = victim.rest.post(f"{BASE}/callback", {**theirs, "state": own["state"], "attempt": own["attempt"]})
    assert reason(answer) == (401, "CREDENTIALS_INVALID")


def test_a_code_is_taken_once(open_stack: Stack) -> None:
    page = Page(open_stack)
    back = page.come_back(page.begin())
    assert page.rest.post(f"{BASE}/callback", back).status_code == 200
    assert reason(page.rest.post(f"{BASE}/callback", back)) == (401, "CREDENTIALS_INVALID")


def test_an_attempt_to_sign_in_links_nothing_and_the_other_way_round(open_stack: Stack) -> None:
    session = log_in(open_stack, sign_up(open_stack))
    rest, page = Rest(open_stack, session.access_token), Page(open_stack)
    assert reason(rest.post(f"{BASE}/link", page.come_back(page.begin()))) == (401, "CREDENTIALS_INVALID")
    begun = rest.get(f"{BASE}/link").json()
    back = page.come_back(begun)
    assert reason(page.rest.post(f"{BASE}/callback", back)) == (401, "CREDENTIALS_INVALID")
    # In another session of the same user neither.
    other = Rest(open_stack, log_in(open_stack, sign_up(open_stack)).access_token)
    assert reason(other.post(f"{BASE}/link", back)) == (401, "CREDENTIALS_INVALID")


def test_linking_needs_a_recent_proof(open_stack: Stack) -> None:
    token = proven_long_ago(open_stack, log_in(open_stack, sign_up(open_stack)))
    assert reason(Rest(open_stack, token).get(f"{BASE}/link")) == (403, "STEP_UP_REQUIRED")
    assert reason(Rest(open_stack, token).delete(f"{BASE}/link")) == (403, "STEP_UP_REQUIRED")


def test_only_pages_of_the_settings_get_codes(open_stack: Stack) -> None:
    for url in (f"{PAGE}/", f"{PAGE}?x=1", "https://evil.example", "//evil.example", f"{PAGE}@evil.example"):
        answer = Rest(open_stack).get(f"{BASE}/authorize", {"redirectUrl": url})
        assert problem(answer).rules == ("redirect_url.unknown",), url
    assert Rest(open_stack).get(f"{BASE}/authorize", {"redirectUrl": PAGE}).status_code == 200


def test_a_refusal_of_the_provider_is_told(open_stack: Stack) -> None:
    page = Page(open_stack)
    begun = page.begin()
    body = {"state": begun["state"], "attempt": begun["attempt"], "error": "access_denied"}
    answer = page.rest.post(f"{BASE}/callback", body)
    assert reason(answer) == (409, "PROVIDER_REFUSED")
    assert problem(answer).metadata["provider_code"] == "access_denied"
    missing = page.rest.post(f"{BASE}/callback", {"state": begun["state"], "attempt": begun["attempt"]})
    assert problem(missing).rules == ("code.missing",)


def test_another_issuer_of_the_redirect_is_refused(open_stack: Stack) -> None:
    page = Page(open_stack)
    back = {**page.come_back(page.begin()), "iss": "https://evil.example"}
    assert reason(page.rest.post(f"{BASE}/callback", back)) == (401, "CREDENTIALS_INVALID")


def test_providers_that_are_not_there(open_stack: Stack) -> None:
    known = Rest(open_stack).get("auth/oauth/google/authorize")
    assert reason(known) == (409, "PROVIDER_NOT_CONFIGURED")
    assert problem(known).metadata["setting"] == "PLINTH_IDENTITY_OAUTH_PROVIDERS"
    assert reason(Rest(open_stack).get("auth/oauth/unknown/authorize")) == (404, "RESOURCE_NOT_FOUND")
