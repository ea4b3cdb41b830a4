"""Keys derived from the deployment's secret: one per purpose."""

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

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


def fingerprint(secret: str) -> bytes:
    """A 16-byte hash that replaces a secret as the key of a map, so that the secret itself is not kept."""
    return hashlib.blake2b(secret.encode(), digest_size=16).digest()
