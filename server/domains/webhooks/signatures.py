"""Signatures of messages by the Standard Webhooks specification (1.0.0).

The signed text is `{id}.{timestamp}.{body}`. While a secret is being replaced there are two signatures, and the
receiver accepts either. `v1` is HMAC-SHA256; `v1a` is Ed25519, whose secret is the 32-byte seed of the private key.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plinth.webhooks.v1.webhook_pb2 import Webhook
from standardwebhooks import Webhook as Signer

ED25519: int = Webhook.SIGNATURE_SCHEME_ED25519
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
SHARED_SECRET, PUBLIC_KEY = "whsec_", "whpk_"


def sign(scheme: int, secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`, one signature per secret. `timestamp` is Unix time, `scheme` as in webhooks."""
    one = _ed25519 if scheme == ED25519 else _hmac
    return " ".join(one(secret, message_id, timestamp, body) for secret in secrets)


def headers(scheme: int, secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """All headers of a message that identify it and prove its origin."""
    return {
        "content-type": "application/json",
        ID: message_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: sign(scheme, secrets, message_id, timestamp, body),
    }


def shown(scheme: int, secret: bytes) -> str:
    """The key with which receivers verify: the shared secret, or the public key of a key pair."""
    if scheme != ED25519:
        return SHARED_SECRET + base64.b64encode(secret).decode()
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return PUBLIC_KEY + base64.b64encode(public).decode()


def _hmac(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    return Signer(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body.decode())


def _ed25519(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1a," + base64.b64encode(Ed25519PrivateKey.from_private_bytes(secret).sign(signed)).decode()
