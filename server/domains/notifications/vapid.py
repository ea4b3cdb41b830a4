"""VAPID (RFC 8292): the keys by which push services know this deployment, derived from its secret.

A browser subscribes with one key, and takes messages that are signed with it alone. Keys of secrets that are accepted
still sign for the devices that subscribed with them.
"""

import base64
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.kernel.keys import derive_key
from server.secrets import Secrets

PURPOSE = "web push key"
ALGORITHM = "ES256"
LIFETIME = timedelta(hours=12)
"""Push services take at most a day."""
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""That of the group P-256 (FIPS 186-5)."""
MOST_ORIGINS = 256


class UnknownVapidKey(Exception):
    """A device has subscribed with a key whose secret is accepted no more."""


class VapidKeys:
    """The keys of a deployment."""

    def __init__(self, secrets: Secrets, contact: str) -> None:
        """`contact` is where operators of push services write to: `mailto:` or `https:`."""
        self._contact = contact
        keys = [_private_key(secret) for secret in secrets.accepted]
        self._keys = {public_text(key.public_key()): key for key in keys}
        self.current = public_text(keys[0].public_key())
        """The public key with which browsers subscribe."""
        self._token = lru_cache(maxsize=MOST_ORIGINS)(self._new_token)

    def knows(self, public_key: str) -> bool:
        """Whether messages can still be signed with a key."""
        return public_key in self._keys

    def authorization(self, endpoint: str, public_key: str, now: datetime) -> str:
        """The header for a message to an endpoint. Raises UnknownVapidKey."""
        parts = urlsplit(endpoint)
        # The same token for half of its life.
        period = int(now.timestamp() // (LIFETIME.total_seconds() / 2))
        return f"vapid t={self._token(f'{parts.scheme}://{parts.netloc}', public_key, period)}, k={public_key}"

    def _new_token(self, origin: str, public_key: str, period: int) -> str:
        key = self._keys.get(public_key)
        if key is None:
            raise UnknownVapidKey
        expiry = int((period + 2) * LIFETIME.total_seconds() / 2)
        return jwt.encode({"aud": origin, "exp": expiry, "sub": self._contact}, key, ALGORITHM)


def public_text(key: ec.EllipticCurvePublicKey) -> str:
    """A public key as browsers take it: an uncompressed point in base64url."""
    raw = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _private_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(derive_key(secret, PURPOSE), "big")
    return ec.derive_private_key(number % (ORDER - 1) + 1, ec.SECP256R1())
