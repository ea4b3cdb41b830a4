"""Clients of OAuth 2 and OpenID Connect: where the browser is sent, and who has come back.

OpenID Connect: Core 1.0 with the code flow, Discovery 1.0, PKCE (RFC 7636). GitHub: OAuth 2 and its REST API, since it
issues no ID tokens (docs.github.com, "Authorizing OAuth apps").
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from server.domains.identity import id_tokens
from server.domains.identity.id_tokens import Claims, KeySets
from server.domains.identity.oauth_attempts import OAuthAttempt
from server.domains.identity.oauth_connections import MICROSOFT, OAuthConnection
from server.json_values import JsonValue
from server.kernel.clock import Clock
from server.kernel.problems import Problem, Reason, StateForbids, Unauthenticated
from server.kernel.providers import Provider, ProviderAnswer, ProviderPort, ProviderRequest, problem_of

OAUTH = Provider(
    name="oauth",
    # Each connection of the setting has addresses of its own.
    base_url=lambda _: None,
    setting="PLINTH_IDENTITY_OAUTH_PROVIDERS",
    deadline=10.0,
    most_bytes=1 << 18,
)
DISCOVERY = "/.well-known/openid-configuration"
KEPT = 3600.0
"""Seconds for which the configuration of a provider is kept."""
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory of Microsoft's personal accounts, whose addresses Microsoft has verified."""
LONGEST_ADDRESS = 254
"""Characters of a mail address (RFC 5321)."""
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthPerson:
    """Who has signed in at a provider."""

    subject: str
    """The provider's id of the person, which never changes."""
    email: str
    is_email_verified: bool
    """Whether the provider vouches for the address."""
    first_name: str
    last_name: str


class OAuthClient:
    """Speaks with the provider of one connection."""

    def __init__(self, connection: OAuthConnection, port: ProviderPort, keys: KeySets, clock: Clock) -> None:
        self.connection = connection
        self._port = port
        self._keys = keys
        self._clock = clock
        self._known: tuple[float, Claims] = 0.0, {}

    def authorization_url(self, attempt: OAuthAttempt) -> str:
        """Where the browser is sent. Raises the Problem of a provider that does not answer."""
        parameters = {
            "response_type": "code",
            "client_id": self.connection.client_id,
            "redirect_uri": attempt.redirect_url,
            "scope": self.connection.wanted_scopes,
            "state": attempt.state,
            "code_challenge": attempt.code_challenge,
            "code_challenge_method": "S256",
        }
        if self.connection.kind == "github":
            return f"{self.connection.github_url}/login/oauth/authorize?{urlencode(parameters)}"
        if self.connection.answers_by_form:
            parameters["response_mode"] = "form_post"
        endpoint = self._endpoint("authorization_endpoint")
        sign = "&" if "?" in endpoint else "?"
        return f"{endpoint}{sign}{urlencode({**parameters, 'nonce': attempt.nonce})}"

    def person(self, attempt: OAuthAttempt, code: str, issuer: str = "") -> OAuthPerson:
        """Who has come back with a code. `issuer` is that of the redirect, if it names one (RFC 9207).

        Raises Unauthenticated for a code that is not valid, and the Problem of a provider that refuses or is away.
        """
        if self.connection.kind == "github":
            return self._github_person(attempt, code)
        configured = str(self._configuration()["issuer"])
        if issuer and issuer != configured:
            raise id_tokens.wrong_id_token()
        tokens = self._tokens(self._endpoint("token_endpoint"), attempt, code)
        token = str(tokens.get("id_token", ""))
        address = self._endpoint("jwks_uri")
        key = self._keys.key(address, id_tokens.key_id_of(token), lambda: self._get("keys.get", address))
        claims = id_tokens.verified(
            token,
            key,
            issuer=configured,
            client_id=self.connection.client_id,
            nonce=attempt.nonce,
            now=self._clock(),
        )
        return _person_of(self._completed(claims, str(tokens.get("access_token", ""))))

    # OpenID Connect ------------------------------------------------------------------------------------------------

    def _configuration(self) -> Claims:
        """What the provider says of itself, an hour old at most. Raises StateForbids if it is another issuer."""
        now = self._clock().timestamp()
        at, known = self._known
        if known and now - at < KEPT:
            return known
        issuer = self.connection.issuer_url.rstrip("/")
        found = self._get("configuration.get", f"{issuer}{DISCOVERY}")
        named = str(found.get("issuer", "")).rstrip("/")
        # Microsoft's common issuer names a template.
        is_template = self.connection.id == MICROSOFT and id_tokens.TEMPLATE in named
        if named != issuer and not is_template:
            raise _unusable("the configuration is that of another issuer")
        self._known = now, found
        return found

    def _endpoint(self, name: str) -> str:
        endpoint = self._configuration().get(name)
        if not isinstance(endpoint, str):
            raise _unusable(f"the configuration has no {name}")
        return endpoint

    def _completed(self, claims: Claims, access_token: str) -> Claims:
        """The claims, with those of the userinfo endpoint where the token has no address."""
        if claims.get("email") or not access_token or "userinfo_endpoint" not in self._configuration():
            return claims
        told = self._get("userinfo.get", self._endpoint("userinfo_endpoint"), access_token)
        # Section 5.3.2: what is told of another subject must not be used.
        return {**told, **claims} if told.get("sub") == claims["sub"] else claims

    def _tokens(self, endpoint: str, attempt: OAuthAttempt, code: str) -> Claims:
        """The answer to a code."""
        connection, secret = self.connection, self.connection.secret(self._clock())
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_url,
            "code_verifier": attempt.verifier,
        }
        headers = {"content-type": FORM, "accept": JSON}
        if secret and self._takes_basic():
            # Section 2.3.1 of RFC 6749: both are form-encoded first.
            pair = f"{quote(connection.client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = connection.client_id
            form |= {"client_secret": secret} if secret else {}
        answer = self._send("token.post", "POST", endpoint, headers, urlencode(form).encode())
        told = _json(answer)
        # GitHub answers errors with 200.
        error = str(told.get("error") or "")
        if error in ("invalid_grant", "bad_verification_code"):
            raise Unauthenticated("The code of the provider is not valid, or was used: begin again.")
        problem = _refusal(answer, error)
        if problem is not None:
            raise problem
        return told

    def _takes_basic(self) -> bool:
        if self.connection.kind == "github" or self.connection.private_key:
            return False
        methods = self._configuration().get("token_endpoint_auth_methods_supported")
        return "client_secret_basic" in methods if isinstance(methods, list) else True

    # GitHub --------------------------------------------------------------------------------------------------------

    def _github_person(self, attempt: OAuthAttempt, code: str) -> OAuthPerson:
        tokens = self._tokens(f"{self.connection.github_url}/login/oauth/access_token", attempt, code)
        token, api = str(tokens.get("access_token", "")), self.connection.github_api_url
        user = self._get("user.get", f"{api}/user", token)
        if not user.get("id"):
            raise _unusable("user.get tells no id")
        addresses = self._get_list("emails.get", f"{api}/user/emails", token)
        best: Claims = next((each for each in addresses if each.get("primary") and each.get("verified")), {})
        first, _, last = str(user.get("name") or "").partition(" ")
        email = _address(best)
        return OAuthPerson(
            subject=str(user["id"]),
            email=email,
            is_email_verified=bool(email),
            first_name=first,
            last_name=last,
        )

    # Requests ------------------------------------------------------------------------------------------------------

    def _get(self, operation: str, url: str, token: str = "") -> Claims:
        found = self._read(operation, url, token)
        if not isinstance(found, Mapping):
            raise _unusable(f"{operation} answers no object")
        return found

    def _get_list(self, operation: str, url: str, token: str) -> list[Claims]:
        found = self._read(operation, url, token)
        if not isinstance(found, list):
            raise _unusable(f"{operation} answers no list")
        return [each for each in found if isinstance(each, Mapping)]

    def _read(self, operation: str, url: str, token: str) -> JsonValue:
        headers = {"accept": JSON} | ({"authorization": f"Bearer {token}"} if token else {})
        answer = self._send(operation, "GET", url, headers, b"")
        problem = problem_of(OAUTH, answer)
        if problem is not None:
            raise problem
        try:
            found: JsonValue = json.loads(answer.body)
        except ValueError as error:
            raise _unusable(f"{operation} answers no JSON") from error
        return found

    def _send(self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> ProviderAnswer:
        parts = urlsplit(url)
        try:
            port = self._port.at(f"{parts.scheme}://{parts.netloc}")
            query = dict(parse_qsl(parts.query))
            request = ProviderRequest(
                operation=f"{self.connection.id}.{operation}",
                method=method,
                path=parts.path or "/",
                query=query,
                headers=headers,
                body=body,
                is_safe=method == "GET",
            )
        except ValueError as error:
            raise _unusable(f"{operation}: the provider names an address that cannot be called") from error
        return port.send(request)


def _json(answer: ProviderAnswer) -> Claims:
    """The object of an answer; empty if it has none."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _refusal(answer: ProviderAnswer, error: str) -> Problem | None:
    if error in ("invalid_client", "unauthorized_client", "incorrect_client_credentials"):
        return StateForbids(
            "The provider rejects the client that is configured for it.",
            reason=Reason.REASON_PROVIDER_CREDENTIALS_REJECTED,
            metadata={"provider": OAUTH.name},
        )
    if error and answer.is_success:
        return _unusable(f"the provider refuses: {error[:100]}")
    return problem_of(OAUTH, answer, error[:100])


def _address(claims: Claims) -> str:
    """The mail address in claims. Empty for a text that is too long for an address."""
    email = str(claims.get("email") or "")
    return email if len(email) <= LONGEST_ADDRESS else ""


def _person_of(claims: Claims) -> OAuthPerson:
    """Who an ID token is about. A claim of an address counts as verified where its issuer says so."""
    is_verified = (
        claims.get("email_verified") in (True, "true")
        # Microsoft says so otherwise, and lets directories put any address of others into `email`.
        or claims.get("xms_edov") in (True, "1", 1)
        or claims.get("tid") == CONSUMERS
    )
    first, last = str(claims.get("given_name") or ""), str(claims.get("family_name") or "")
    if not (first or last):
        first, _, last = str(claims.get("name") or "").partition(" ")
    email = _address(claims)
    return OAuthPerson(
        subject=str(claims["sub"]),
        email=email,
        is_email_verified=is_verified and bool(email),
        first_name=first,
        last_name=last,
    )


def _unusable(what: str) -> StateForbids:
    """The problem of a provider whose answers cannot be used."""
    return StateForbids(
        f"The provider cannot be used: {what}.",
        reason=Reason.REASON_PROVIDER_REFUSED,
        metadata={"provider": OAUTH.name, "provider_code": "unusable"},
    )
