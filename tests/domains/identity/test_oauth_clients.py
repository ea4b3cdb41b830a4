"""Clients of providers: GitHub by a double that checks what GitHub checks, and what a provider may answer wrongly."""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.providers import HttpProviders
from server.domains.identity.id_tokens import KeySets
from server.domains.identity.oauth_attempts import PURPOSE, OAuthAttempt, OAuthAttempts
from server.domains.identity.oauth_clients import CONSUMERS, OAUTH, OAuthClient, OAuthPerson
from server.domains.identity.oauth_connections import OAuthConnection, parse_connections
from server.kernel.clock import utc_now
from server.kernel.problems import Problem, Reason, StateForbids, Unauthenticated, Unavailable
from server.kernel.sealing import SealedBox
from server.secrets import Secrets
from tests.providers.double import Double, Fault, Received, Reply
from tests.stack import Stack

PAGE = "https://app.example/signed-in"
KEY = ec.generate_private_key(ec.SECP256R1())
ATTEMPTS = OAuthAttempts(SealedBox(Secrets(b"x" * 40), PURPOSE), utc_now)


class GitHub(Double):
    """GitHub's OAuth and REST API, as its documentation describes them."""

    def __init__(self) -> None:
        super().__init__()
        self.attempt: OAuthAttempt | None = None
        self.emails: list[dict[str, Any]] = [
            {"email": "old@example.com", "primary": False, "verified": True},
            {"email": "ada@example.com", "primary": True, "verified": True},
        ]
        self.user: dict[str, Any] = {"id": 583231, "login": "ada", "name": "Ada Lovelace", "email": None}

    def reply(self, request: Received) -> Reply:
        if request.path == "/login/oauth/access_token":
            return self._exchange(request)
        if request.headers.get("authorization") != "Bearer gho_16C7e42F292c6912E7":
            return Reply.of(401, {"message": "Bad credentials"})
        assert request.headers["user-agent"]
        return Reply.of(200, {"/user": self.user, "/user/emails": self.emails}[request.path])

    def _exchange(self, request: Received) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        # Without this header, the answer is a form.
        if request.headers.get("accept") != "application/json":
            return Reply(200, b"access_token=gho_16C7e42F292c6912E7")
        if (form["client_id"], form.get("client_secret")) != ("id", "secret"):
            return Reply.of(200, {"error": "incorrect_client_credentials"})
        assert self.attempt is not None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if form["code"] != "good" or challenge != self.attempt.code_challenge or form["redirect_uri"] != PAGE:
            return Reply.of(200, {"error": "bad_verification_code"})
        return Reply.of(200, {"access_token": "gho_16C7e42F292c6912E7", "token_type": "bearer"})


class Issuer(Double):
    """A provider of OpenID Connect that answers whatever a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.configuration: Any = None
        self.token: Any = None
        self.claims: dict[str, Any] = {}
        self.userinfo: Any = {}
        self.nonce = ""

    def reply(self, request: Received) -> Reply:
        keys = jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key(), as_dict=True)
        known = {
            "/.well-known/openid-configuration": self.configuration or self.usual,
            "/keys": {"keys": [{**keys, "kid": "one", "use": "sig"}]},
            "/token": self.token or {"id_token": self.signed(), "access_token": "at"},
            "/userinfo": self.userinfo,
        }
        return Reply.of(200, known[request.path])

    @property
    def usual(self) -> dict[str, Any]:
        found = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        found["userinfo_endpoint"] = "/userinfo"
        return {"issuer": self.url, **{name: f"{self.url}{path}" for name, path in found.items()}}

    def signed(self) -> str:
        now = datetime.now(UTC).timestamp()
        known = {"iss": self.url, "sub": "ada", "aud": "id", "iat": now, "exp": now + 60, "nonce": self.nonce}
        return jwt.encode(known | self.claims, KEY, "ES256", headers={"kid": "one"})


def known(subject: str, email: str, first_name: str, last_name: str) -> OAuthPerson:
    """Somebody whose provider vouches for the address, if it tells one."""
    named = {"first_name": first_name, "last_name": last_name}
    return OAuthPerson(subject=subject, email=email, is_email_verified=bool(email), **named)


@pytest.fixture
def ports(stack: Stack) -> Iterator[HttpProviders]:
    providers = HttpProviders(stack.settings)
    yield providers
    providers.close()


def client(ports: HttpProviders, connection: OAuthConnection) -> OAuthClient:
    return OAuthClient(connection, ports(OAUTH), KeySets(utc_now), utc_now)


# GitHub --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as double:
        yield double


def of_github(ports: HttpProviders, double: GitHub, **facts: Any) -> tuple[OAuthClient, OAuthAttempt]:
    given = {"client_id": "id", "client_secret": "secret", "github_url": double.url, "github_api_url": double.url}
    double.attempt = ATTEMPTS.new("github", PAGE)
    return client(ports, OAuthConnection(id="github", **(given | facts))), double.attempt


def test_github_tells_who_it_is(ports: HttpProviders, github: GitHub) -> None:
    it, attempt = of_github(ports, github)
    url = urlsplit(it.authorization_url(attempt))
    asked = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.path == "/login/oauth/authorize"
    assert (asked["client_id"], asked["state"], asked["redirect_uri"]) == ("id", attempt.state, PAGE)
    assert (asked["code_challenge"], asked["code_challenge_method"]) == (attempt.code_challenge, "S256")
    assert it.person(attempt, "good") == known("583231", "ada@example.com", "Ada", "Lovelace")


def test_github_vouches_only_for_the_primary_address_that_is_verified(ports: HttpProviders, github: GitHub) -> None:
    it, attempt = of_github(ports, github)
    github.user["name"] = None
    github.emails[1]["verified"] = False
    assert it.person(attempt, "good") == known("583231", "", "", "")


def test_github_s_errors_come_with_200(ports: HttpProviders, github: GitHub) -> None:
    it, attempt = of_github(ports, github)
    with pytest.raises(Unauthenticated):
        it.person(attempt, "used")
    wrong, attempt = of_github(ports, github, client_secret="another")
    with pytest.raises(StateForbids) as caught:
        wrong.person(attempt, "good")
    assert caught.value.reason == Reason.REASON_PROVIDER_CREDENTIALS_REJECTED


def test_a_provider_that_is_away_is_told_as_such(ports: HttpProviders, github: GitHub) -> None:
    it, attempt = of_github(ports, github)
    github.fail(Fault.DROP_AFTER)
    # A code is not sent twice: it works once.
    with pytest.raises(Unavailable):
        it.person(attempt, "good")
    assert len(github.received) == 1


# OpenID Connect ------------------------------------------------------------------------------------------------------


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as double:
        yield double


def of_issuer(ports: HttpProviders, double: Issuer, **facts: Any) -> tuple[OAuthClient, OAuthAttempt]:
    attempt = ATTEMPTS.new("acme", PAGE)
    double.nonce = attempt.nonce
    given = {"id": "acme", "issuer": double.url, "client_id": "id"}
    return client(ports, OAuthConnection(**(given | facts))), attempt


def test_an_address_that_the_token_lacks_is_asked_for(ports: HttpProviders, issuer: Issuer) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.userinfo = {"sub": "ada", "email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace"}
    assert it.person(attempt, "c") == known("ada", "ada@example.com", "Ada", "Lovelace")
    issuer.userinfo["sub"] = "eve"
    assert it.person(attempt, "c") == known("ada", "", "", "")


@pytest.mark.parametrize(
    ("claims", "is_verified"),
    [
        ({"email_verified": True}, True),
        ({"email_verified": "true"}, True),
        ({"email_verified": False}, False),
        ({}, False),
        # Any directory can put the address of somebody else into `email` (nOAuth).
        ({"tid": "a-directory"}, False),
        ({"tid": "a-directory", "xms_edov": True}, True),
        ({"tid": CONSUMERS}, True),
        # Cut, it would be the address of somebody else.
        ({"email_verified": True, "email": f"{'a' * 250}@example.com"}, False),
    ],
)
def test_an_address_counts_only_where_the_provider_vouches_for_it(
    ports: HttpProviders, issuer: Issuer, claims: dict[str, Any], *, is_verified: bool
) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.claims = {"email": "ada@example.com", **claims}
    assert it.person(attempt, "c").is_email_verified is is_verified


def test_a_token_for_another_attempt_is_refused(ports: HttpProviders, issuer: Issuer) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.nonce = "of another attempt"
    with pytest.raises(Unauthenticated):
        it.person(attempt, "c")


WRONG: dict[str, Any] = {
    "another issuer": {"issuer": "https://evil.example"},
    "the template of Microsoft": {"issuer": "https://evil.example/{tenantid}"},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint without TLS": {"token_endpoint": "http://id.example/token"},
    "a token endpoint that is none": {"token_endpoint": "file:///etc/passwd"},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_configuration_that_cannot_be_used_is_a_problem(ports: HttpProviders, issuer: Issuer, what: str) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.configuration = issuer.usual | WRONG[what]
    with pytest.raises(Problem) as caught:
        it.person(attempt, "c")
    assert caught.value.reason == Reason.REASON_PROVIDER_REFUSED


@pytest.mark.parametrize(
    ("facts", "methods", "basic"),
    [
        ({"client_secret": "s:1"}, None, True),
        ({"client_secret": "s:1"}, ["client_secret_post"], False),
        ({}, None, False),
    ],
)
def test_a_client_authenticates_as_the_provider_wants(
    ports: HttpProviders, issuer: Issuer, facts: dict[str, str], methods: list[str] | None, *, basic: bool
) -> None:
    it, attempt = of_issuer(ports, issuer, **facts)
    issuer.configuration = issuer.usual | ({"token_endpoint_auth_methods_supported": methods} if methods else {})
    it.person(attempt, "c")
    sent = next(each for each in issuer.received if each.path == "/token")
    assert ("authorization" in sent.headers) is basic
    if basic:
        assert base64.b64decode(sent.headers["authorization"].removeprefix("Basic ")) == b"id:s%3A1"
    assert (b"client_secret" in sent.body) is (bool(facts) and not basic)


def test_apple_s_client_secret_is_a_token_of_its_own(ports: HttpProviders, issuer: Issuer) -> None:
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    facts = {"id": "apple", "team_id": "team", "key_id": "key", "private_key": key}
    it, attempt = of_issuer(ports, issuer, **facts)
    it.person(attempt, "c")
    sent = next(each for each in issuer.received if each.path == "/token")
    secret = parse_qs(sent.body.decode())["client_secret"][0]
    claims = jwt.decode(secret, KEY.public_key(), ["ES256"], audience="https://appleid.apple.com")
    assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == ("team", "id", 300)
    assert jwt.get_unverified_header(secret)["kid"] == "key"
    assert "response_mode=form_post" in it.authorization_url(attempt)


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ({"error": "invalid_client"}, Reason.REASON_PROVIDER_CREDENTIALS_REJECTED),
        ({"error": "temporarily_out_of_order"}, Reason.REASON_PROVIDER_REFUSED),
    ],
)
def test_an_error_of_the_token_endpoint_is_a_problem(
    ports: HttpProviders, issuer: Issuer, answered: dict[str, str], reason: int
) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.token = answered
    with pytest.raises(Problem) as caught:
        it.person(attempt, "c")
    assert caught.value.reason == reason


def test_a_redirect_of_another_issuer_is_refused(ports: HttpProviders, issuer: Issuer) -> None:
    it, attempt = of_issuer(ports, issuer)
    assert it.person(attempt, "c", issuer.url).subject == "ada"
    with pytest.raises(Unauthenticated):
        it.person(attempt, "c", "https://evil.example")


@pytest.mark.parametrize("userinfo", [[], "a text", None])
def test_an_answer_that_is_no_object_is_a_problem(ports: HttpProviders, issuer: Issuer, userinfo: Any) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.userinfo = userinfo
    with pytest.raises(StateForbids):
        it.person(attempt, "c")


@pytest.mark.parametrize("body", [b"", b"<html>", b'"a text"'])
@pytest.mark.parametrize("path", ["/token", "/userinfo"])
def test_an_answer_that_is_no_json_signs_nobody_in(
    ports: HttpProviders, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, body: bytes, path: str
) -> None:
    it, attempt = of_issuer(ports, issuer)
    usual = issuer.reply
    monkeypatch.setattr(issuer, "reply", lambda each: Reply(200, body) if each.path == path else usual(each))
    with pytest.raises((StateForbids, Unauthenticated)):
        it.person(attempt, "c")


def test_a_provider_that_fails_is_away(ports: HttpProviders, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    it, attempt = of_issuer(ports, issuer)
    usual = issuer.reply
    monkeypatch.setattr(issuer, "reply", lambda each: Reply(503) if each.path == "/userinfo" else usual(each))
    with pytest.raises(Unavailable):
        it.person(attempt, "c")


def test_a_user_of_github_has_an_id(ports: HttpProviders, github: GitHub) -> None:
    it, attempt = of_github(ports, github)
    del github.user["id"]
    with pytest.raises(StateForbids):
        it.person(attempt, "good")


def test_an_error_that_is_null_is_none(ports: HttpProviders, issuer: Issuer) -> None:
    it, attempt = of_issuer(ports, issuer)
    issuer.token = {"id_token": issuer.signed(), "error": None}
    assert it.person(attempt, "c").subject == "ada"


def test_addresses_of_github_are_a_list(ports: HttpProviders, github: GitHub) -> None:
    it, attempt = of_github(ports, github)
    github.emails = {}  # type: ignore[assignment]
    with pytest.raises(StateForbids):
        it.person(attempt, "good")


# Attempts ------------------------------------------------------------------------------------------------------------


def test_an_attempt_ends_after_ten_minutes() -> None:
    box, now = SealedBox(Secrets(b"x" * 40), PURPOSE), utc_now()
    begun = OAuthAttempts(box, lambda: now).new("acme", PAGE)
    sealed = OAuthAttempts(box, lambda: now).seal(begun)
    assert OAuthAttempts(box, lambda: now + timedelta(seconds=599)).open(sealed, "acme", begun.state) == begun
    with pytest.raises(Unauthenticated):
        OAuthAttempts(box, lambda: now + timedelta(seconds=602)).open(sealed, "acme", begun.state)


@given(st.text(max_size=200))
def test_nothing_but_an_attempt_of_this_deployment_is_one(text: str) -> None:
    with pytest.raises(Unauthenticated):
        ATTEMPTS.open(text, "acme", "state")


# Settings ------------------------------------------------------------------------------------------------------------


def test_known_providers_need_no_issuer() -> None:
    given = {name: {"client_id": "id", "client_secret": "secret"} for name in ("google", "github", "apple")}
    given["microsoft"] = {"client_id": "id", "client_secret": "secret", "directory": "consumers"}
    found = parse_connections(json.dumps(given))
    assert found["google"].issuer_url == "https://accounts.google.com"
    assert found["microsoft"].issuer_url == "https://login.microsoftonline.com/consumers/v2.0"
    assert [each.title for each in found.values()] == ["Google", "GitHub", "Apple", "Microsoft"]
    assert parse_connections("") == {}
    assert found["google"].wanted_scopes == "openid email profile"
    scoped = parse_connections('{"github": {"client_id": "id", "scopes": "user:email"}}')
    assert scoped["github"].wanted_scopes == "user:email"
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "a JSON object such as"),
        ("{", "a JSON object such as"),
        ('{"acme": 1}', "a JSON object such as"),
        ('{"acme": {"client_id": "x"}}', "`acme` needs an `issuer`"),
        ('{"google": {"client_secret": "hush"}}', "`google`: client_id: Field required"),
        ('{"google": {"client_id": "x", "secret": "hush"}}', "`google`: secret: Extra inputs"),
        ('{"Google!": {"client_id": "x", "client_secret": "hush"}}', "`Google!`: id:"),
        ('{"acme": {"client_id": "x", "issuer": "http://id.example"}}', "`acme`: issuer:"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_without_its_secrets(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"JSON") as caught:
        parse_connections(text)
    assert told in str(caught.value)
    assert "hush" not in str(caught.value)
