"""Access tokens: who issued them, when they expire, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from server.kernel.call import Principal
from server.kernel.guard import tokens as module
from server.kernel.guard.tokens import LEEWAY, SET_BACK, TICKET_LIFETIME, AccessTokens, SigningKey
from server.kernel.problems import Unauthenticated
from server.secrets import Secrets

SECRET, PREVIOUS, OTHER = b"s" * 32, b"p" * 32, b"o" * 32
LIFETIME = 900


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tokens(clock: Clock, secret: bytes = SECRET, previous: bytes | None = None, issuer: str = "plinth") -> AccessTokens:
    return AccessTokens(Secrets(secret, (previous,) if previous else ()), issuer=issuer, lifetime=LIFETIME, clock=clock)


def principal(**facts: Any) -> Principal:
    known: dict[str, Any] = {
        "user_id": "u",
        "session_id": "s",
        "tenant_id": "t",
        "roles": ("owner", "editor"),
        "is_platform": False,
        "expires_at": 0,
    }
    return Principal(**(known | facts))


def reason(issuer: AccessTokens, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        issuer.verify(token)
    return caught.value.reason_name


@pytest.mark.parametrize("facts", [{}, {"tenant_id": None, "roles": ()}, {"is_platform": True}], ids=str)
def test_a_token_stands_for_its_principal(clock: Clock, facts: dict[str, Any]) -> None:
    issuer = tokens(clock)
    found = issuer.verify(issuer.issue(principal(**facts)))
    assert found == principal(**facts, expires_at=(clock.now + timedelta(seconds=LIFETIME)).timestamp())


def test_a_token_expires_also_when_it_is_remembered(clock: Clock) -> None:
    issuer = tokens(clock)
    token = issuer.issue(principal())
    clock.now += timedelta(seconds=LIFETIME + LEEWAY - 1)
    assert issuer.verify(token).user_id == "u"
    clock.now += timedelta(seconds=2)
    assert reason(issuer, token) == "TOKEN_EXPIRED"
    assert reason(tokens(clock), token) == "TOKEN_EXPIRED"


def test_a_ticket_expires_and_what_it_opens_ends_with_the_access_token(clock: Clock) -> None:
    issuer = tokens(clock)
    opener = principal(expires_at=(clock.now + timedelta(seconds=LIFETIME)).timestamp())
    ticket, expires_at = issuer.issue_ticket(opener)
    assert expires_at == (clock.now + timedelta(seconds=TICKET_LIFETIME)).timestamp()
    found, ticket_id, until = issuer.verify_ticket(ticket)
    assert (found, until) == (opener, expires_at)
    assert ticket_id != issuer.verify_ticket(issuer.issue_ticket(opener)[0])[1]
    clock.now += timedelta(seconds=TICKET_LIFETIME + LEEWAY + 1)
    with pytest.raises(Unauthenticated) as expired:
        issuer.verify_ticket(ticket)
    assert expired.value.reason_name == "TOKEN_EXPIRED"


def test_the_key_before_a_rotation_is_still_accepted_and_no_longer_signs(clock: Clock) -> None:
    old, new = tokens(clock, PREVIOUS), tokens(clock, SECRET, PREVIOUS)
    assert new.verify(old.issue(principal())).user_id == "u"
    assert reason(old, new.issue(principal())) == "CREDENTIALS_INVALID"
    assert reason(tokens(clock, SECRET), old.issue(principal())) == "CREDENTIALS_INVALID"


def test_another_issuer_is_refused(clock: Clock) -> None:
    assert reason(tokens(clock), tokens(clock, issuer="elsewhere").issue(principal())) == "CREDENTIALS_INVALID"


def claims(clock: Clock, **changes: Any) -> dict[str, Any]:
    known = {"iss": "plinth", "sub": "u", "sid": "s", "iat": clock.now, "exp": clock.now + timedelta(60), "roles": []}
    return {name: value for name, value in (known | changes).items() if value is not None}


def signed(**facts: Any) -> str:
    key = SigningKey.of(SECRET)
    return jwt.encode(facts, key.private, algorithm="EdDSA", headers={"kid": key.key_id})


def test_a_token_from_the_future_is_refused_beyond_what_a_clock_may_be_set_back(clock: Clock) -> None:
    late = signed(**claims(clock, iat=clock.now + timedelta(seconds=SET_BACK + 1)))
    assert reason(tokens(clock), late) == "CREDENTIALS_INVALID"
    early = signed(**claims(clock, iat=clock.now + timedelta(seconds=SET_BACK - 1)))
    assert tokens(clock).verify(early).user_id == "u"


def test_no_token_is_good_for_longer_than_tokens_are(clock: Clock) -> None:
    issuer, token = tokens(clock), signed(**claims(clock, exp=clock.now + timedelta(days=365)))
    assert issuer.verify(token).expires_at == (clock.now + timedelta(seconds=LIFETIME)).timestamp()
    clock.now += timedelta(seconds=LIFETIME + LEEWAY + 1)
    assert reason(issuer, token) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("missing", ["exp", "iat", "sub", "sid", "iss"])
def test_a_token_without_a_claim_is_refused(clock: Clock, missing: str) -> None:
    key = SigningKey.of(SECRET)
    token = jwt.encode(claims(clock, **{missing: None}), key.private, algorithm="EdDSA", headers={"kid": key.key_id})
    assert reason(tokens(clock), token) == "CREDENTIALS_INVALID"


def test_forged_tokens_are_refused(clock: Clock) -> None:
    issuer, key, foreign = tokens(clock), SigningKey.of(SECRET), SigningKey.of(OTHER)
    good = issuer.issue(principal())
    head, body, signature = good.split(".")
    forged = [
        "",
        "x",
        "a.b.c",
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
        jwt.encode(claims(clock), foreign.private, algorithm="EdDSA", headers={"kid": key.key_id}),
        jwt.encode(claims(clock), foreign.private, algorithm="EdDSA", headers={"kid": foreign.key_id}),
        jwt.encode(claims(clock), key.private, algorithm="EdDSA"),
        jwt.encode(claims(clock), key="", algorithm="none", headers={"kid": key.key_id}),
        jwt.encode(claims(clock), key="k" * 32, algorithm="HS256", headers={"kid": key.key_id}),
    ]
    assert {reason(issuer, token) for token in forged} == {"CREDENTIALS_INVALID"}
    assert issuer.verify(good).user_id == "u"


def test_the_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    issuer = tokens(clock)
    made = [issuer.issue(principal(user_id=str(number))) for number in range(8)]
    for number, token in enumerate(made):
        assert issuer.verify(token).user_id == str(number)
        assert len(issuer._known) <= 3  # noqa: SLF001 - nothing else shows it


def test_a_refused_token_is_not_remembered(clock: Clock) -> None:
    issuer = tokens(clock)
    reason(issuer, "a.b.c")
    assert not issuer._known  # noqa: SLF001 - as above
    assert "a.b.c" not in repr(vars(issuer))


def test_the_published_key_is_the_one_that_signs(clock: Clock) -> None:
    issuer = tokens(clock, SECRET, PREVIOUS)
    header = jwt.get_unverified_header(issuer.issue(principal()))
    assert header["alg"] == "EdDSA"
    assert header["kid"] == issuer.keys[0].key_id
    published = jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": issuer.keys[0].x, "alg": "EdDSA"})
    options: Any = {"verify_exp": False}
    found = jwt.decode(issuer.issue(principal()), published, algorithms=["EdDSA"], options=options, issuer="plinth")
    assert found["sub"] == "u"
