"""ID tokens: what is refused of them, and the keys of their issuers."""

import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode

from server.domains.identity.id_tokens import Claims, KeySets, key_id_of, verified
from server.kernel.problems import Unauthenticated

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ISSUER, CLIENT, NONCE = "https://id.example", "plinth", "a nonce"
RSA = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARDS = Ed25519PrivateKey.generate()


def jwk_of(key: Any, algorithm: str, key_id: str = "one") -> jwt.PyJWK:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return jwt.PyJWK({**made, "kid": key_id, "alg": algorithm, "use": "sig"})


def claims(**changed: Any) -> dict[str, Any]:
    known = {"iss": ISSUER, "sub": "ada", "aud": CLIENT, "nonce": NONCE, "iat": NOW, "exp": NOW + timedelta(minutes=5)}
    return {name: value for name, value in (known | changed).items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm, headers={"kid": "one"})


def check(given: str, key: jwt.PyJWK | None = None, issuer: str = ISSUER) -> Claims:
    return verified(given, key or jwk_of(RSA, "RS256"), issuer=issuer, client_id=CLIENT, nonce=NONCE, now=NOW)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS384"), (CURVE, "ES256"), (EDWARDS, "EdDSA")])
def test_a_token_is_taken_with_the_algorithm_of_its_key(key: Any, algorithm: str) -> None:
    assert check(token(key, algorithm), jwk_of(key, algorithm))["sub"] == "ada"


def confused() -> str:
    """Signed with HS256 and the public key, which everybody knows (RFC 8725, section 2.1)."""
    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = token().split(".")[1]
    head = base64url_encode(json.dumps({"alg": "HS256", "kid": "one"}).encode()).decode()
    signature = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64url_encode(signature).decode()}"


WRONG: dict[str, Callable[[], str]] = {
    "another key": lambda: token(rsa.generate_private_key(65537, 2048)),
    "another algorithm of the same key": lambda: token(algorithm="PS256"),
    "a shared secret that is the public key": confused,
    "no algorithm": lambda: jwt.encode(claims(), "", "none", headers={"kid": "one"}),
    "no signature": lambda: token().rsplit(".", 1)[0] + ".",
    "another issuer": lambda: token(iss="https://evil.example"),
    "no issuer": lambda: token(iss=None),
    "another audience": lambda: token(aud="another client"),
    "no audience": lambda: token(aud=None),
    "several audiences without a party": lambda: token(aud=[CLIENT, "another client"]),
    "another party": lambda: token(azp="another client"),
    "another nonce": lambda: token(nonce="another"),
    "no nonce": lambda: token(nonce=None),
    "no subject": lambda: token(sub=None),
    "an empty subject": lambda: token(sub=""),
    "expired": lambda: token(exp=NOW - timedelta(seconds=61)),
    "an end that is no moment": lambda: token(exp="soon"),
    "no end": lambda: token(exp=None),
    "from the future": lambda: token(iat=NOW + timedelta(seconds=61)),
    "no beginning": lambda: token(iat=None),
    "nonsense": lambda: "nonsense",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_token_is_refused(what: str) -> None:
    with pytest.raises(Unauthenticated):
        check(WRONG[what]())


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": [CLIENT, "another client"], "azp": CLIENT},
        {"azp": CLIENT},
        {"exp": NOW - timedelta(seconds=59)},
        {"iat": NOW + timedelta(seconds=59)},
        # Google's issuer, as its old tokens write it.
        {"iss": "id.example"},
    ],
)
def test_what_the_standard_allows_is_taken(changed: dict[str, Any]) -> None:
    assert check(token(**changed))["sub"] == "ada"


def test_the_issuer_of_microsoft_names_the_directory_of_the_token() -> None:
    template = "https://login.example/{tenantid}/v2.0"
    assert check(token(iss="https://login.example/d-1/v2.0", tid="d-1"), issuer=template)["tid"] == "d-1"
    with pytest.raises(Unauthenticated):
        check(token(iss="https://login.example/d-1/v2.0", tid="d-2"), issuer=template)


class Moving:
    """A clock, and a provider whose keys change."""

    def __init__(self) -> None:
        self.now = NOW
        self.keys = ["one"]
        self.asked = 0

    def __call__(self) -> datetime:
        return self.now

    def fetch(self) -> dict[str, Any]:
        self.asked += 1
        made = jwt.get_algorithm_by_name("ES256").to_jwk(CURVE.public_key(), as_dict=True)
        return {"keys": [{**made, "kid": key_id} for key_id in self.keys]}


def test_keys_are_kept_and_asked_for_again_when_one_is_new() -> None:
    it = Moving()
    sets = KeySets(it)
    for _ in range(3):
        assert sets.key("https://id.example/keys", "one", it.fetch).key_id == "one"
    assert it.asked == 1
    # A token with a key that nobody knows makes one request a minute, however many there are.
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            sets.key("https://id.example/keys", "two", it.fetch)
    assert it.asked == 1
    it.now += timedelta(seconds=61)
    it.keys = ["two"]
    assert sets.key("https://id.example/keys", "two", it.fetch).key_id == "two"
    it.now += timedelta(seconds=3601)
    with pytest.raises(Unauthenticated):
        sets.key("https://id.example/keys", "one", it.fetch)
    assert it.asked == 3


def test_a_token_without_a_key_id_takes_the_only_key() -> None:
    it = Moving()
    assert KeySets(it).key("x", None, it.fetch).key_id == "one"
    it.keys = ["one", "two"]
    with pytest.raises(Unauthenticated):
        KeySets(it).key("x", None, it.fetch)


@pytest.mark.parametrize("text", ["", "a.b.c", "nonsense"])
def test_what_is_no_token_has_no_header(text: str) -> None:
    with pytest.raises(Unauthenticated):
        key_id_of(text)


@pytest.mark.parametrize("told", [{}, {"keys": []}, {"keys": [{"kty": "what"}]}, {"keys": "text"}, {"keys": ["text"]}])
def test_a_set_without_a_key_that_can_be_used_signs_nobody_in(told: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        KeySets(Moving()).key("x", "one", lambda: told)
