"""The codes of authenticator apps, by the vectors of RFC 6238."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domains.identity.second_factor_codes import lock_after, plain_code
from server.domains.identity.totp import STEP, code_at, enrolment_url, matching_step, new_secret, typed

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    # Appendix B has eight digits, of which these are the last six.
    assert code_at(SECRET, seconds // STEP) == code[2:].encode()


@given(at=st.integers(min_value=1_000_000_000, max_value=4_000_000_000), off=st.integers(min_value=-5, max_value=5))
def test_a_clock_may_be_off_by_one_step(at: int, off: int) -> None:
    now, current = datetime.fromtimestamp(at, UTC), at // STEP
    found = matching_step(SECRET, code_at(SECRET, current + off).decode(), now, 0)
    near = [code_at(SECRET, current + each) for each in (-1, 0, 1)]
    # Two steps may happen to have one code.
    assert (found is not None) == (code_at(SECRET, current + off) in near)


def test_a_code_is_taken_once() -> None:
    now = datetime.now(UTC)
    step = int(now.timestamp()) // STEP
    code = code_at(SECRET, step).decode()
    assert matching_step(SECRET, code, now, step - 1) == step
    assert matching_step(SECRET, code, now, step) is None
    assert matching_step(SECRET, code, now + timedelta(seconds=STEP), step) is None


def test_what_an_app_needs_is_in_the_address() -> None:
    url = enrolment_url(SECRET, "ada@example.com", "Car & Co")
    assert url.startswith("otpauth://totp/Car%20%26%20Co:ada%40example.com?")
    assert f"secret={typed(SECRET)}" in url
    assert {"digits=6", "period=30", "algorithm=SHA1", "issuer=Car%20%26%20Co"} <= set(url.split("?")[1].split("&"))
    assert len(new_secret()) == 20


def test_each_lock_is_twice_as_long() -> None:
    assert [lock_after(failures) for failures in (0, 1, 4, 5, 6, 10, 15)] == [0, 0, 0, 900, 0, 1800, 3600]
    assert lock_after(5 * 1000) == 86400


@pytest.mark.parametrize("sent", ["482 913", " 482913 ", "482-913", "482\u00a0913"])
def test_codes_are_taken_as_people_type_them(sent: str) -> None:
    assert plain_code(sent) == "482913"
