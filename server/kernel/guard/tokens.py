"""Access tokens: JWTs signed with Ed25519 (RFC 8037), verified once and then remembered until they expire."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.utils import base64url_encode

from server.data.statements import Row
from server.kernel.call import Principal
from server.kernel.clock import Clock, unix_now, utc_now
from server.kernel.ids import new_id
from server.kernel.keys import derive_key, fingerprint
from server.kernel.problems import Dead, Reason, Unauthenticated
from server.secrets import Secrets

ALGORITHM = "EdDSA"
# Seconds: more than PostgreSQL's time can differ between two processes that have just measured it.
LEEWAY = 5
# The audience of a ticket, and its seconds.
TICKET, TICKET_LIFETIME = "stream", 60
REQUIRED = ("exp", "iat", "sub", "sid")
# Seconds that a token may be from the future: as much as the clock may be set back, for example at a failover.
SET_BACK = 60
# Verification costs about 80 us, a look-up 1 us. 10,000 principals take about 6 MB.
REMEMBERED = 10_000
# Errors that PyJWT raises only after it has verified the signature.
OF_ANOTHER_ISSUER = (jwt.InvalidIssuerError, jwt.MissingRequiredClaimError)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and its id, the RFC 7638 thumbprint of the public key."""

    private: Ed25519PrivateKey
    key_id: str
    x: str

    @classmethod
    def of(cls, secret: bytes) -> "SigningKey":
        """The key pair derived from a secret of the deployment."""
        private = Ed25519PrivateKey.from_private_bytes(derive_key(secret, "access token signature"))
        x = base64url_encode(private.public_key().public_bytes_raw()).decode()
        return cls(private, _thumbprint(x), x)

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that verifies."""
        return self.private.public_key()


def _thumbprint(x: str) -> str:

    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    return base64url_encode(hashlib.sha256(canonical.encode()).digest()).decode()


class AccessTokens:
    """Issues and verifies access tokens."""

    def __init__(self, secrets: Secrets, *, issuer: str, lifetime: int, clock: Clock = utc_now) -> None:
        """`lifetime` is seconds."""
        # Keys of secrets that are accepted ahead of use are published too, so that clients have cached them in time.
        self.keys = [SigningKey.of(secret) for secret in secrets.accepted]
        self.lifetime = lifetime
        self._issuer = issuer
        self._clock = clock
        # Called for every call: a datetime costs ten times as much.
        self._seconds = unix_now if clock is utc_now else lambda: clock().timestamp()
        self._public = {key.key_id: key.public for key in self.keys}
        self._known: dict[bytes, Principal] = {}

    def issue(self, principal: Principal) -> str:
        """A token for a principal. Its expiry is set here."""
        now = self._clock()
        claims: dict[str, object] = {
            "iss": self._issuer,
            "sub": principal.user_id,
            "sid": principal.session_id,
            "iat": now,
            "exp": now + timedelta(seconds=self.lifetime),
            "auth_time": int(principal.proven_at),
            "roles": list(principal.roles),
        }
        if principal.tenant_id:
            claims["tid"] = principal.tenant_id
        if principal.is_platform:
            claims["plt"] = True
        key = self.keys[0]
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.key_id})

    def issue_ticket(self, principal: Principal) -> tuple[str, float]:
        """A ticket with which a principal opens one stream, and the Unix time at which it ends."""
        now = self._clock()
        expires = now + timedelta(seconds=TICKET_LIFETIME)
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": TICKET,
            "jti": new_id(),
            "sub": principal.user_id,
            "sid": principal.session_id,
            "iat": now,
            "exp": expires,
            "roles": list(principal.roles),
            "tid": principal.tenant_id or "",
            "plt": principal.is_platform,
            # The stream ends with the access token for which the ticket was given.
            "end": principal.expires_at,
        }
        key = self.keys[0]
        token = jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.key_id})
        return token, expires.timestamp()

    def verify_ticket(self, ticket: str) -> tuple[Principal, str, float]:
        """The principal of a ticket, its id, and the Unix time at which it ends. Raises Unauthenticated."""
        claims = self._claims(ticket, audience=TICKET, required=("jti", "end"))
        expires_at = float(claims["exp"])
        if expires_at + LEEWAY < self._seconds():
            raise Unauthenticated("The ticket has expired.", reason=Reason.REASON_TOKEN_EXPIRED)
        principal = _principal(claims | {"exp": claims["end"], "tid": claims["tid"] or None}, until=inf)
        return principal, str(claims["jti"]), expires_at

    def verify(self, token: str) -> Principal:
        """The principal of a token. Raises Unauthenticated if the token is invalid or has expired."""
        name = fingerprint(token)
        principal = self._known.get(name)
        if principal is None:
            principal = self._verify(token)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[name] = principal
        if principal.expires_at + LEEWAY < self._seconds():
            self._known.pop(name, None)
            raise _expired()
        return principal

    def _verify(self, token: str) -> Principal:
        claims = self._claims(token)
        try:
            return _principal(claims, until=self._latest(float(claims["iat"])))
        except (KeyError, TypeError, ValueError) as error:
            raise Unauthenticated("The access token is not valid.") from error

    def _claims(self, token: str, *, audience: str | None = None, required: Sequence[str] = ()) -> Row:
        """The claims of a token with a valid signature, for this audience. Raises Unauthenticated."""
        try:
            key = self._public[jwt.get_unverified_header(token)["kid"]]
            return dict(
                jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],
                    issuer=self._issuer,
                    audience=audience,
                    options={"require": [*REQUIRED, *required], "verify_exp": False, "verify_iat": False},
                )
            )
        except OF_ANOTHER_ISSUER as error:
            # The signature is valid, so this is no guess: the deployment has changed since.
            raise Dead("The access token is not valid.") from error
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise Unauthenticated("The access token is not valid.") from error

    def _latest(self, issued: float) -> float:
        """The latest time at which a token ends, whatever its own claim. Raises ValueError for one from the future."""
        now = self._seconds()
        if issued > now + SET_BACK:
            raise ValueError("the token was issued in the future")
        return now + self.lifetime


def _expired() -> Unauthenticated:
    return Unauthenticated("The access token has expired.", reason=Reason.REASON_TOKEN_EXPIRED)


def _principal(claims: Row, *, until: float) -> Principal:
    return Principal(
        user_id=str(claims["sub"]),
        session_id=str(claims["sid"]),
        tenant_id=claims.get("tid"),
        roles=tuple(claims.get("roles", ())),
        proven_at=float(claims.get("auth_time", 0)),
        is_platform=bool(claims.get("plt", False)),
        expires_at=min(float(claims["exp"]), until),
    )
