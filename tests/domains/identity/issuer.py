"""A provider of OpenID Connect for the shared stack, at which everybody is signed in already.

Its codes hold what it was asked and who comes, so that any process can make one. tests/domains/identity/oidc.py has a
certified provider; this one is for the sweeps.
"""

import base64
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.clients import Rest, new_address
from tests.providers.double import Double, Received, Reply

PROVIDER, CLIENT_ID, CLIENT_SECRET = "sweeps", "plinth", "a-secret-of-the-sweeps"
BY_FORM = "apple"
PAGE = "http://localhost:1/signed-in"
KEY = ec.generate_private_key(ec.SECP256R1())
PATHS = {
    "authorization_endpoint": "/authorize",
    "token_endpoint": "/token",
    "jwks_uri": "/keys",
}


class IssuerOfCodes(Double):
    """The provider."""

    @property
    def settings(self) -> dict[str, str]:
        """Those of a stack whose users sign in here."""
        connection = {"issuer": self.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "name": "Sweeps"}
        return {
            "identity_oauth_providers": json.dumps({PROVIDER: connection, BY_FORM: connection}),
            "identity_oauth_redirect_urls": PAGE,
        }

    def reply(self, request: Received) -> Reply:
        """Discovery, keys, and ID tokens for codes."""
        if request.path == "/.well-known/openid-configuration":
            return Reply.of(200, {"issuer": self.url, **{name: self.url + path for name, path in PATHS.items()}})
        if request.path == "/keys":
            key = jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key(), as_dict=True)
            return Reply.of(200, {"keys": [{**key, "kid": "one", "use": "sig"}]})
        return self._exchange(request)

    def __init__(self) -> None:
        super().__init__()
        self._used: set[str] = set()

    def _exchange(self, request: Received) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return Reply.of(401, {"error": "invalid_client"})
        code = json.loads(base64.urlsafe_b64decode(form["code"]))
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        is_used = form["code"] in self._used
        self._used.add(form["code"])
        if is_used or (challenge, form["redirect_uri"]) != (code["challenge"], code["page"]):
            return Reply.of(400, {"error": "invalid_grant"})
        now = time.time()
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": code["nonce"]}
        who = {
            "sub": code["email"],
            "email": code["email"],
            "email_verified": code["is_verified"],
            "name": "Ada Lovelace",
        }
        return Reply.of(200, {"id_token": jwt.encode(claims | who, KEY, "ES256", headers={"kid": "one"})})


def came_back(rest: Rest, what: str, email: str = "") -> dict[str, Any]:
    """With what a page comes back that began to `authorize` (sign in) or to `link`, by default as somebody new."""
    begun = rest.get(f"auth/oauth/{PROVIDER}/{what}").json()
    back = sent_back(begun["url"], email or new_address())
    return {"provider": PROVIDER, "attempt": begun["attempt"], **back}


def sent_back(url: str, email: str, *, is_verified: bool = True) -> dict[str, str]:
    """With what the provider sends the browser of somebody back that came to this address."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    code = {
        "challenge": asked["code_challenge"],
        "page": asked["redirect_uri"],
        "nonce": asked["nonce"],
        "email": email,
        "is_verified": is_verified,
    }
    return {"code": base64.urlsafe_b64encode(json.dumps(code).encode()).decode(), "state": asked["state"]}
