"""A page in a real browser goes the whole way: sign-up, mail, passkey, step-up, and the end of all sessions."""

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.virtual_authenticator import Protocol, Transport, VirtualAuthenticatorOptions

from tests.browser import chromium
from tests.clients import new_address, new_password
from tests.clients_typescript.test_pages import Tab, pytestmark
from tests.domains.identity.letters import VERIFY, token_from, wait_for_letter
from tests.mailbox import mail_server, mailbox_of
from tests.stack import Stack, free_port

__all__ = ["pytestmark"]


@pytest.fixture(scope="module")
def open_stack(origin: str) -> Iterator[Stack]:
    """A stack with a front end and a mail server."""
    stack = Stack(
        environment="staging", cors_origins=origin, log_level="ERROR", port=free_port(), identity_app_url=origin
    )
    with mail_server(mailbox_of(stack).folder) as url:
        stack.set(communication_smtp_url=url)
        try:
            yield stack.start()
        finally:
            stack.remove()


@pytest.fixture
def tab(origin: str) -> Iterator[Tab]:
    """A page in a browser that has a passkey reader, whose user always agrees."""
    with chromium.chromium() as driver:
        driver.set_script_timeout(60)
        options = VirtualAuthenticatorOptions(
            protocol=Protocol.CTAP2,
            transport=Transport.INTERNAL,
            has_resident_key=True,
            has_user_verification=True,
            is_user_verified=True,
        )
        driver.add_virtual_authenticator(options)
        yield Tab(driver, origin)


def test_a_page_goes_the_whole_way(open_stack: Stack, tab: Tab) -> None:
    email, password = new_address(), new_password()
    who: dict[str, Any] = {"email": email, "password": password}
    tab.run("front.begin(arguments[0]);", open_stack.url)
    tab.run("await plinth.auth.signUp({ body: arguments[0] });", who)
    # The link leads to the page, which sends the token.
    letter = wait_for_letter(open_stack, email, VERIFY)
    assert "/verify-email?token=" in letter
    token = token_from(open_stack, email, VERIFY)
    assert tab.run("return await plinth.account.verifyEmail({ body: { token: arguments[0] } });", token)[
        "emailVerifyTime"
    ]

    tab.run("await plinth.signIn(arguments[0]);", who)
    made = tab.run("return await plinth.registerPasskey('This browser');")
    assert made["name"] == "This browser"
    wait_for_letter(open_stack, email, "A passkey was added")

    tab.run("await plinth.signOut();")
    assert tab.run("return await plinth.session();") is None
    session = tab.run("return await plinth.signInWithPasskey();")
    assert session["user"]["email"] == email
    renewed = tab.run("return await plinth.stepUp({ passkey: true });")
    assert renewed["authenticateTime"] > session["authenticateTime"]

    # The other sessions end, and then this one.
    tab.run("await plinth.auth.logIn({ body: arguments[0] });", who)
    assert len(tab.run("return (await plinth.account.listOwnSessions()).sessions;")) == 2
    tab.run("await plinth.account.revokeOtherSessions();")
    assert len(tab.run("return (await plinth.account.listOwnSessions()).sessions;")) == 1
    tab.run("await plinth.signOut();")
    refused = tab.attempt("return await plinth.account.listOwnSessions();")
    assert refused["reason"] == "CREDENTIALS_MISSING"


def test_a_browser_that_has_no_passkey_says_so(open_stack: Stack, tab: Tab) -> None:
    tab.run("front.begin(arguments[0]);", open_stack.url)
    assert "NotAllowedError" in tab.attempt("return await plinth.signInWithPasskey();")["fault"]
