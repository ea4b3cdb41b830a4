"""Browsers that have subscribed to Web Push. What comes is decrypted step by step, as RFC 8291 has it."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.clients import Tenant, unique
from tests.contract.instances import made
from tests.domains.webhooks.receiver import Message, Receiver

SALT, RECORD_SIZE, KEY_LENGTH = 16, 4, 1


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def derived(salt: bytes, key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=salt, info=info).derive(key)


@dataclass
class Browser:
    """One subscription."""

    receiver: Receiver
    path: str = field(default_factory=lambda: f"/{unique('push')}")
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = b"0123456789abcdef"

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def subscription(self) -> dict[str, Any]:
        """What `subscription.toJSON()` gives."""
        keys = {"p256dh": base64url(self.public), "auth": base64url(self.auth)}
        return {"endpoint": self.receiver.url(self.path), "keys": keys}

    def register(self, tenant: Tenant, **facts: Any) -> dict[str, Any]:
        """Register it for the owner."""
        return made(tenant, "/api/v1/notifications/devices", {"webPush": self.subscription} | facts)

    @property
    def messages(self) -> list[Message]:
        """What has come."""
        return self.receiver.messages(self.path)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What the person sees."""
        return [self.decrypt(message.body)["notification"] for message in self.messages]

    def decrypt(self, body: bytes) -> dict[str, Any]:
        """The one record of a message (RFC 8188, section 2; RFC 8291, section 3.4)."""
        text: dict[str, Any] = json.loads(decrypt(self.key, self.auth, body))
        return text

    def claims(self, message: Message, public_key: str) -> dict[str, Any]:
        """What our token says, once it is verified with our key (RFC 8292, section 3)."""
        scheme, _, rest = message.headers["authorization"].partition(" ")
        assert scheme == "vapid"
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        assert parts["k"] == public_key
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(parts["k"]))
        audience = self.receiver.url("")
        claims: dict[str, Any] = jwt.decode(parts["t"], key, algorithms=["ES256"], audience=audience)
        return claims


def decrypt(key: ec.EllipticCurvePrivateKey, auth: bytes, body: bytes) -> bytes:
    """The text of one record, encrypted for a key."""
    salt, rest = body[:SALT], body[SALT + RECORD_SIZE :]
    length = rest[0]
    theirs, sealed = rest[KEY_LENGTH : KEY_LENGTH + length], rest[KEY_LENGTH + length :]
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
    ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keying = derived(auth, shared, b"WebPush: info\0" + ours + theirs, 32)
    content_key = derived(salt, keying, b"Content-Encoding: aes128gcm\0", 16)
    nonce = derived(salt, keying, b"Content-Encoding: nonce\0", 12)
    padded = AESGCM(content_key).decrypt(nonce, sealed, None)
    # The last record ends with 2 and padding.
    text, _, padding = padded.rpartition(b"\2")
    assert not padding.strip(b"\0")
    return text
