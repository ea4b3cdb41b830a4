"""Signatures over bodies: what was signed is accepted, and nothing else."""

import hmac
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.kernel.inbound import BadSignature, check_signed, check_timestamped
from server.kernel.inbound.hmacs import MOST_SIGNATURES, parse_timestamped

NOW = 1_800_000_000
SECRETS = st.lists(st.binary(min_size=16, max_size=40), min_size=1, max_size=3, unique=True)
BODIES = st.binary(max_size=500)


def sign(secret: bytes, message: bytes) -> str:
    return hmac.digest(secret, message, "sha256").hex()


def fails(check: Callable[[], None]) -> bool:
    try:
        check()
    except BadSignature:
        return True
    return False


@given(secrets=SECRETS, body=BODIES, data=st.data())
def test_any_of_the_secrets_and_any_of_the_signatures(secrets: list[bytes], body: bytes, data: st.DataObject) -> None:
    secret = data.draw(st.sampled_from(secrets))
    right = sign(secret, b"%d." % NOW + body)
    others = data.draw(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=MOST_SIGNATURES - 1))
    given_ones = data.draw(st.permutations([right, *others]))
    header = ",".join([f"t={NOW}", "v0=x", *(f"v1={each}" for each in given_ones)])
    check_timestamped(body, header, secrets, NOW + 299)
    check_signed(body, f"sha256={sign(secret, body).upper()}", secrets, "sha256=")


@given(secrets=SECRETS, body=BODIES, other=BODIES, stranger=st.binary(min_size=16, max_size=40))
def test_no_other_body_secret_time_or_scheme(secrets: list[bytes], body: bytes, other: bytes, stranger: bytes) -> None:
    assume(other != body and stranger not in secrets)
    right, wrong = sign(secrets[0], b"%d." % NOW + body), sign(stranger, b"%d." % NOW + body)
    for header in (f"t={NOW},v1={wrong}", f"t={NOW + 1},v1={right}", f"t={NOW},v0={right}", f"t={NOW},v1={right[:-1]}"):
        assert fails(lambda header=header: check_timestamped(body, header, secrets, NOW)), header  # type: ignore[misc]
    assert fails(lambda: check_timestamped(other, f"t={NOW},v1={right}", secrets, NOW))
    assert fails(lambda: check_signed(other, sign(secrets[0], body), secrets))
    assert fails(lambda: check_signed(body, sign(secrets[0], body), secrets, "sha256="))
    assert fails(lambda: check_signed(body, sign(secrets[0], body), []))


@pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
def test_what_was_signed_at_another_time_is_refused(now: int) -> None:
    header = f"t={NOW},v1={sign(b'k' * 32, b'%d.' % NOW)}"
    check_timestamped(b"", header, [b"k" * 32], NOW + (now > NOW) * 300)
    with pytest.raises(BadSignature, match="another time"):
        check_timestamped(b"", header, [b"k" * 32], now)


@given(header=st.text(max_size=200) | st.from_regex(r"(t=[0-9]*,?|v1=[0-9a-f]*,?|[a-z=,]*)*", fullmatch=True))
def test_any_header_is_read_or_refused(header: str) -> None:
    try:
        time, signatures = parse_timestamped(header)
    except BadSignature:
        return
    assert int(time) >= 0
    assert f"t={time}" in header.replace(" ", "")
    assert 0 < len(signatures) <= MOST_SIGNATURES


@pytest.mark.parametrize(
    "header",
    ["", "t=1", "v1=00", "t=1,t=2,v1=00", "t=-1,v1=0", "t=²,v1=0", "t=1234567890123,v1=0", "t=1," + "v1=0," * 11],
)
def test_headers_that_say_nothing_or_too_much(header: str) -> None:
    with pytest.raises(BadSignature):
        parse_timestamped(header)
