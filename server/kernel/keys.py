"""Keys derived from the deployment's secret: one per purpose."""

import base64
import binascii
import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.secrets import Secrets

KEY_BYTES = 32


def derive_key(secret: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"plinth {purpose}".encode()).derive(secret)


def sign(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 of a message."""
    return hmac.digest(key, message, "sha256")


def matches(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature belongs to the message, compared in constant time."""
    return hmac.compare_digest(sign(key, message), signature)


class Signatures:
    """Signatures of one purpose: made with the deployment's secret, and valid with any secret that it accepts."""

    def __init__(self, given: Secrets, purpose: str) -> None:
        """`given` are the deployment's secrets."""
        self._keys = [derive_key(secret, purpose) for secret in given.accepted]

    def sign(self, message: bytes) -> bytes:
        """The 32-byte signature of a message."""
        return sign(self._keys[0], message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature belongs to the message."""
        return any(matches(key, message, signature) for key in self._keys)


def as_text(raw: bytes) -> str:
    """Bytes as text that URLs and cookies take: base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_text(text: str) -> bytes | None:
    """Decode base64url without padding; None if the text is not valid base64url."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def fingerprint(secret: str) -> bytes:
    """A 16-byte hash that replaces a secret as the key of a map, so that the secret itself is not kept."""
    return hashlib.blake2b(secret.encode(), digest_size=16).digest()
