"""The tokens of a session, and how long they are good. Neither `repr` nor `str` shows one."""

import base64
import json
import time
from dataclasses import dataclass, field

from plinth.client.errors import SecondFactorRequired
from plinth.client.rpc import Rpc
from plinth.identity.v1 import auth_pb2

LOG_IN = Rpc("/plinth.identity.v1.AuthService/LogIn", auth_pb2.LogInRequest, auth_pb2.Session, is_anonymous=True)
REFRESH = Rpc(
    "/plinth.identity.v1.AuthService/RefreshToken",
    auth_pb2.RefreshTokenRequest,
    auth_pb2.Session,
    # The same token gets the same successor again, so that this needs no idempotency key.
    reads=True,
    is_anonymous=True,
)
SWITCH = Rpc("/plinth.identity.v1.AuthService/SwitchTenant", auth_pb2.SwitchTenantRequest, auth_pb2.Session)
# An access token is renewed when this part of its lifetime is left, but at most EARLIEST seconds before it expires.
LAST_PART = 0.2
EARLIEST = 60.0
FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token or an API key, and what renews it."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    """Rotated at every use: keep the newest. Empty if nothing renews the access token."""
    lifetime: float = 0.0
    """Seconds for which the access token was good when it was given; 0 if that is unknown."""
    expires_at: float = FOR_EVER
    """When it expires, in seconds of time.monotonic()."""

    @classmethod
    def of(cls, session: auth_pb2.Session) -> "Tokens":
        """Those of an answer of AuthService. Raises SecondFactorRequired for one that asks for a code."""
        if session.second_factor.challenge:
            error = SecondFactorRequired("This user has a second factor: programs sign in with an API key.")
            error.challenge = session.second_factor.challenge
            raise error
        lifetime = float(session.expires_in)
        return cls(session.access_token, session.refresh_token, lifetime, time.monotonic() + lifetime)

    @classmethod
    def given(cls, access_token: str, refresh_token: str) -> "Tokens":
        """Those of a caller. The access token itself says when it expires, or is taken to be good for ever."""
        left = _seconds_left(access_token)
        return cls(access_token, refresh_token, left if left < FOR_EVER else 0.0, time.monotonic() + left)

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew the access token."""
        early = min(EARLIEST, self.lifetime * LAST_PART)
        return bool(self.refresh_token) and time.monotonic() > self.expires_at - early

    @property
    def is_expired(self) -> bool:
        """Whether the access token is of no use any more."""
        return time.monotonic() > self.expires_at

    @property
    def renewal(self) -> auth_pb2.RefreshTokenRequest:
        """The request that renews them."""
        return auth_pb2.RefreshTokenRequest(refresh_token=self.refresh_token)


@dataclass(frozen=True, slots=True)
class Login:
    """What a session begins with."""

    email: str
    password: str = field(repr=False)
    tenant: str = ""
    """Subdomain of the tenant; empty for the one of the last login."""

    @property
    def request(self) -> auth_pb2.LogInRequest:
        """The request that logs in."""
        return auth_pb2.LogInRequest(email=self.email, password=self.password, tenant=self.tenant)


def beginning(
    *,
    api_key: str | None,
    token: str | None,
    refresh_token: str | None,
    email: str | None,
    password: str | None,
    tenant: str,
) -> Tokens | Login | None:
    """What a client starts with; None for a caller without credentials. Raises ValueError for a contradiction."""
    if sum(map(bool, (api_key, token or refresh_token, email or password))) > 1:
        raise ValueError("pass one of api_key, token (with refresh_token), and email with password")
    if bool(email) != bool(password):
        raise ValueError("email and password belong together: one of them is missing")
    if tenant and not email:
        raise ValueError("tenant belongs to email and password: a key or a token carries its tenant")
    if api_key:
        return Tokens(api_key)
    if token or refresh_token:
        return Tokens.given(token or "", refresh_token or "")
    return Login(email, password, tenant) if email and password else None


def _seconds_left(token: str) -> float:
    """Seconds until a JWT expires by its own word, which is not verified here. For ever, if it does not say."""
    if not token:
        return -1.0
    try:
        claims = token.split(".")[1]
        expires_at = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
        return float(expires_at) - time.time()
    except (IndexError, KeyError, TypeError, ValueError):
        return FOR_EVER
