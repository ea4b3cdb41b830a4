"""Attempts to sign in at a provider: what Plinth has to know again when the browser comes back.

An attempt is sealed and kept by the page that began it, so that nothing is stored for who only begins. A page that did
not begin has none: a link with a code and a state of somebody else signs nobody in (RFC 9700, section 4.7).
"""

import base64
import binascii
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography.exceptions import InvalidTag

from server.kernel.clock import Clock
from server.kernel.problems import Unauthenticated
from server.kernel.sealing import SealedBox, UnknownKey

PURPOSE = "oauth attempt"
PREFIX = "poa_"
LIFETIME = timedelta(minutes=10)
RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class OAuthAttempt:
    """What was begun."""

    provider: str
    redirect_url: str
    tenant: str
    session_id: str
    """The session that links an identity; empty for a sign-in."""
    state: str
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636)."""
    expires: int
    """Unix time in seconds."""

    @property
    def code_challenge(self) -> str:
        """What the provider is told of the verifier (S256)."""
        digest = sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class OAuthAttempts:
    """Seals attempts, and opens them."""

    def __init__(self, box: SealedBox, clock: Clock) -> None:
        """`box` is for PURPOSE."""
        self._box = box
        self._clock = clock

    def new(
        self, provider: str, redirect_url: str, *, mark: str = "", tenant: str = "", session_id: str = ""
    ) -> OAuthAttempt:
        """An attempt with new secrets. `mark` is appended to its state."""
        return OAuthAttempt(
            provider=provider,
            redirect_url=redirect_url,
            tenant=tenant,
            session_id=session_id,
            state=secrets.token_urlsafe(RANDOM_BYTES) + mark,
            nonce=secrets.token_urlsafe(RANDOM_BYTES),
            verifier=secrets.token_urlsafe(RANDOM_BYTES),
            expires=int((self._clock() + LIFETIME).timestamp()),
        )

    def seal(self, attempt: OAuthAttempt) -> str:
        """What the page keeps."""
        sealed = self._box.seal(json.dumps(asdict(attempt)).encode(), PURPOSE)
        return PREFIX + base64.urlsafe_b64encode(sealed).decode()

    def open(self, text: str, provider: str, state: str, *, session_id: str = "") -> OAuthAttempt:
        """The attempt of a page that comes back.

        Raises Unauthenticated for one of another provider, another state or another session, and after ten minutes.
        """
        try:
            sealed = base64.b64decode(text.removeprefix(PREFIX), altchars=b"-_", validate=True)
            attempt = OAuthAttempt(**json.loads(self._box.open(sealed, PURPOSE)))
        except (binascii.Error, TypeError, ValueError, UnknownKey, InvalidTag) as error:
            raise not_begun() from error
        is_same = secrets.compare_digest(attempt.state.encode(), state.encode())
        if not is_same or (attempt.provider, attempt.session_id) != (provider, session_id):
            raise not_begun()
        if attempt.expires < self._clock().timestamp():
            raise not_begun()
        return attempt


def expires_of(attempt: OAuthAttempt, now: datetime) -> datetime:
    """When an attempt ends, in the time zone of `now`."""
    return datetime.fromtimestamp(attempt.expires, now.tzinfo)


def not_begun() -> Unauthenticated:
    """The problem of who comes back without having begun here."""
    return Unauthenticated("This sign-in was not begun here, or too long ago: begin again.")
