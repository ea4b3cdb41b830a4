"""Cookies of browsers: what they are set with, and the tokens against forged requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.cookies import CSRF_COOKIE, CSRF_HEADER, BrowserCookies, cookies_of
from server.kernel.problems import Denied
from server.secrets import Secrets

OLD, NEW = b"a" * 40, b"b" * 40


def cookies(secret: bytes = NEW, *behind: bytes, is_secure: bool = True) -> BrowserCookies:
    return BrowserCookies(Secrets(secret, behind=behind), lifetime=60, is_secure=is_secure)


def test_a_cookie_is_for_the_paths_of_sign_ins_alone() -> None:
    known = "plinth_refresh=x; Max-Age=60; Path=/api/v1/auth; HttpOnly; SameSite=Strict; Secure"
    assert cookies().keep("plinth_refresh", "x") == ("set-cookie", known)
    assert "Max-Age=0" in cookies().drop("plinth_refresh")[1]
    # Where there is no certificate, on the machine of a developer.
    assert "Secure" not in cookies(is_secure=False).keep("plinth_refresh", "x")[1]


def test_a_token_outlives_a_rotation() -> None:
    token = cookies(OLD).csrf_token({})
    kept = {"cookie": f"{CSRF_COOKIE}={token}", CSRF_HEADER: token}
    cookies(NEW, OLD).check_csrf(kept)
    with pytest.raises(Denied):
        cookies(NEW).check_csrf(kept)


@given(st.text(max_size=80), st.text(max_size=80))
def test_nothing_but_a_token_of_this_deployment_is_one(header: str, cookie: str) -> None:
    with pytest.raises(Denied):
        cookies().check_csrf({CSRF_HEADER: header, "cookie": f"{CSRF_COOKIE}={cookie}"})


def test_cookies_of_others_do_not_hide_ours() -> None:
    text = 'a@b=1; {x}=2; plinth_refresh=prt_x==; quoted="y"; nothing; plinth_refresh=of-a-shorter-path; =; '
    assert cookies_of({"cookie": text})["plinth_refresh"] == "prt_x=="
    assert cookies_of({}) == {}


@given(st.text(max_size=200))
def test_whatever_a_browser_sends_has_cookies_or_none(text: str) -> None:
    assert isinstance(dict(cookies_of({"cookie": text})), dict)
