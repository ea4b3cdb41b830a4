"""Sessions of browsers whose refresh token is in a cookie, which no script can read."""

from http.cookies import SimpleCookie

import httpx
import pytest

from tests.clients import Account, Rest, Session, reason, sign_up
from tests.stack import Stack

ASKED = {"x-session-cookie": "true"}
REFRESH, CSRF = "plinth_refresh", "plinth_csrf"


def cookies_set(answer: httpx.Response) -> SimpleCookie:
    """The cookies that an answer sets."""
    found = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        found.load(header)
    return found


class Browser:
    """Keeps cookies, and sends them with everything below their path."""

    def __init__(self, stack: Stack, account: Account) -> None:
        self.stack = stack
        self.rest = Rest(stack)
        self.account = account
        self.kept: dict[str, str] = {}

    def send(self, path: str, body: object, **headers: str) -> httpx.Response:
        """POST something, with the cookies."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.kept.items())
        answer = self.rest.post(path, body, headers={"cookie": cookie, **headers} if cookie else headers)
        return self.keep(answer)

    def keep(self, answer: httpx.Response) -> httpx.Response:
        """Keep the cookies of an answer."""
        for name, morsel in cookies_set(answer).items():
            if morsel["max-age"] == "0":
                self.kept.pop(name, None)
            else:
                self.kept[name] = morsel.value
        return answer

    def log_in(self, **headers: str) -> httpx.Response:
        """Sign in."""
        return self.send("auth/login", {"email": self.account.email, "password": self.account.password}, **headers)

    def csrf(self) -> str:
        """The token that proves that a page of the own site calls."""
        cookie = f"{CSRF}={self.kept[CSRF]}" if CSRF in self.kept else ""
        answer = self.keep(self.rest.get("auth/csrf", headers={"cookie": cookie} if cookie else {}))
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.json()["csrfToken"])


@pytest.fixture
def browser(stack: Stack) -> Browser:
    return Browser(stack, sign_up(stack))


def test_a_refresh_token_goes_into_a_cookie_that_scripts_cannot_read(browser: Browser) -> None:
    answer = browser.log_in(**ASKED)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["refreshToken"], bool(answer.json()["accessToken"])) == ("", True)
    morsel = cookies_set(answer)[REFRESH]
    assert morsel.value.startswith("prt_")
    assert morsel.value not in answer.text
    facts = (morsel["httponly"], morsel["samesite"], morsel["path"], morsel["max-age"])
    assert facts == (True, "Strict", "/api/v1/auth", str(30 * 86400))
    # Nobody who did not ask gets one.
    assert not cookies_set(Browser(browser.stack, browser.account).log_in())


def test_a_session_is_renewed_with_its_cookie(browser: Browser) -> None:
    browser.log_in(**ASKED)
    first, token = browser.kept[REFRESH], browser.csrf()
    answer = browser.send("auth/refresh", {}, **{"x-csrf-token": token})
    assert answer.status_code == 200, answer.text
    # The successor goes into the cookie too, though the header was not sent.
    assert answer.json()["refreshToken"] == ""
    assert browser.kept[REFRESH] != first
    again = browser.send("auth/refresh", {}, **{"x-csrf-token": token})
    assert Rest(browser.stack, again.json()["accessToken"]).get("auth/me").status_code == 200


@pytest.mark.parametrize("what", ["none", "another one", "of another browser", "without its cookie"])
def test_a_page_of_another_site_renews_nothing(browser: Browser, what: str) -> None:
    browser.log_in(**ASKED)
    token, before = browser.csrf(), dict(browser.kept)
    other = Browser(browser.stack, browser.account)
    sent = {
        "none": "",
        "another one": token[:-2] + "AA",
        "of another browser": other.csrf(),
        "without its cookie": token,
    }
    if what == "without its cookie":
        del browser.kept[CSRF]
    headers = {"x-csrf-token": sent.get(what, token)} if what != "none" else {}
    answer = browser.send("auth/refresh", {}, **headers)
    assert reason(answer) == (403, "CSRF_TOKEN_INVALID")
    browser.kept = before
    assert browser.send("auth/refresh", {}, **{"x-csrf-token": token}).status_code == 200


def test_pages_of_a_browser_share_their_token(browser: Browser) -> None:
    assert browser.csrf() == browser.csrf()
    browser.kept[CSRF] = "of somebody else"
    fresh = browser.csrf()
    assert fresh == browser.kept[CSRF] != "of somebody else"


def test_a_token_in_the_body_needs_no_proof(browser: Browser) -> None:
    session = Session.of(browser.log_in())
    browser.kept[REFRESH] = "prt_of-somebody-else"
    answer = browser.send("auth/refresh", {"refreshToken": session.refresh_token})
    assert Session.of(answer).refresh_token != session.refresh_token


def test_neither_a_token_nor_a_cookie_renews_nothing(browser: Browser) -> None:
    assert reason(browser.send("auth/refresh", {})) == (401, "CREDENTIALS_INVALID")
    browser.kept["broken"] = 'a"b'
    assert reason(browser.send("auth/refresh", {})) == (401, "CREDENTIALS_INVALID")


def test_logging_out_removes_the_cookie(browser: Browser) -> None:
    token = browser.log_in(**ASKED).json()["accessToken"]
    answer = browser.send("auth/logout", {}, authorization=f"Bearer {token}")
    assert answer.status_code == 204
    assert REFRESH not in browser.kept


def test_a_repeated_sign_in_sets_the_cookie_again(browser: Browser) -> None:
    headers = {**ASKED, "idempotency-key": "the-same-sign-in"}
    first, second = browser.log_in(**headers), browser.log_in(**headers)
    assert second.headers["idempotent-replay"] == "true"
    assert cookies_set(first)[REFRESH].value == cookies_set(second)[REFRESH].value
    assert second.json()["refreshToken"] == ""


def test_switching_and_stepping_up_keep_it_in_the_cookie(browser: Browser) -> None:
    token = browser.log_in(**ASKED).json()["accessToken"]
    answer = browser.send(
        "auth/step-up", {"password": browser.account.password}, authorization=f"Bearer {token}", **ASKED
    )
    assert (answer.status_code, answer.json()["refreshToken"]) == (200, "")
    assert REFRESH in cookies_set(answer)
