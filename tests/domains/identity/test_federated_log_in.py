"""Signing in at a certified provider of OpenID Connect, which runs on loopback."""

import json
from collections.abc import Iterator

import pytest

from tests.clients import (
    Rest,
    Session,
    log_in,
    reason,
    rows,
    sign_up,
)
from tests.domains.identity.federation import CertifiedPage
from tests.domains.identity.letters import wait_for_letter
from tests.domains.identity.oidc import CLIENT_ID, CLIENT_SECRET, PAGE, certified_provider
from tests.mailbox import mail_server, mailbox_of
from tests.node.packages import needs_npm
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, needs_npm]


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


def test_a_newcomer_gets_an_account_and_comes_back_to_it(open_stack: Stack) -> None:
    page = CertifiedPage(open_stack)
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


def test_an_address_alone_signs_in_to_no_account(open_stack: Stack) -> None:
    account = sign_up(open_stack)
    page = CertifiedPage(open_stack, account.email)
    assert reason(page.sign_in()) == (409, "RESOURCE_TAKEN")
    linked = page.link(log_in(open_stack, account))
    assert linked.json()["email"] == account.email
    wait_for_letter(open_stack, account.email, "Another way to sign in was linked")
    assert page.sign_in().json()["user"]["id"] == account.id


def test_a_link_of_somebody_else_signs_nobody_in(open_stack: Stack) -> None:
    """Forged requests to sign in (RFC 9700, 4.7): the code and the state are the attacker's, the attempt is not."""
    attacker, victim = CertifiedPage(open_stack), CertifiedPage(open_stack)
    theirs, own = attacker.come_back(attacker.begin()), victim.begin()
    answer = victim.rest.post(f"{CertifiedPage.base}/callback", {**theirs, "attempt": own["attempt"]})
    assert reason(answer) == (401, "CREDENTIALS_INVALID")
    # A code under another attempt's state fails at the provider: its verifier is another one.
    answer = victim.rest.post(
        f"{CertifiedPage.base}/callback", {**theirs, "state": own["state"], "attempt": own["attempt"]}
    )
    assert reason(answer) == (401, "CREDENTIALS_INVALID")


def test_a_code_is_taken_once(open_stack: Stack) -> None:
    page = CertifiedPage(open_stack)
    back = page.come_back(page.begin())
    assert page.rest.post(f"{CertifiedPage.base}/callback", back).status_code == 200
    assert reason(page.rest.post(f"{CertifiedPage.base}/callback", back)) == (401, "CREDENTIALS_INVALID")


def test_another_issuer_of_the_redirect_is_refused(open_stack: Stack) -> None:
    page = CertifiedPage(open_stack)
    back = {**page.come_back(page.begin()), "iss": "https://evil.example"}
    assert reason(page.rest.post(f"{CertifiedPage.base}/callback", back)) == (401, "CREDENTIALS_INVALID")
