"""Stored secrets of webhooks: sealed with a key derived from the deployment's secret.

A sealed secret is the id of the key, a nonce, and AES-256-GCM over the secret, bound to its webhook: moved to another
row it does not open. After a rotation of PLINTH_SECRET_KEY, secrets sealed under the previous one still open, and the
job in reseal.py seals them under the new one.
"""

import secrets
from contextlib import suppress
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.data.statements import Row
from server.kernel.keys import derive_key
from server.secrets import Secrets

SECRET_BYTES = 32
KEY_ID_BYTES = 8
NONCE_BYTES = 12


class UnknownKey(Exception):
    """A secret is sealed under a deployment secret that is neither the current nor the previous one."""


def new_secret() -> bytes:
    """Generate a secret: the key of an HMAC, or the seed of an Ed25519 key pair."""
    return secrets.token_bytes(SECRET_BYTES)


class SecretBox:
    """Seals and opens secrets of webhooks."""

    def __init__(self, given: Secrets) -> None:
        """`given` are the deployment's secrets."""
        keys = [_Key(secret) for secret in given.accepted]
        self.lasting = frozenset(_Key(secret).id for secret in given.lasting)
        """The key ids of sealed secrets that need no resealing."""
        self._current = keys[0]
        self._keys = {key.id: key for key in keys}

    def seal(self, secret: bytes, webhook_id: str) -> bytes:
        """The sealed form of a secret."""
        return self._current.seal(secret, webhook_id)

    def open(self, sealed: bytes, webhook_id: str) -> bytes:
        """Open a secret.

        Raises UnknownKey, and InvalidTag for one that was sealed for another webhook or is damaged.
        """
        key = self._keys.get(sealed[:KEY_ID_BYTES])
        if key is None:
            raise UnknownKey
        return key.open(sealed, webhook_id)

    def open_all(self, row: Row, webhook_id: str, now: datetime) -> list[bytes]:
        """The secrets that sign messages now. `row` has `secret`, `previous_secret` and `previous_secret_expire_time`.

        Raises as `open` does, but skips a previous secret under an unknown key, because the current one remains.
        """
        found, until = [self.open(row["secret"], webhook_id)], row["previous_secret_expire_time"]
        if until is not None and until > now:
            with suppress(UnknownKey):
                found.append(self.open(row["previous_secret"], webhook_id))
        return found

    def reseal(self, sealed: bytes, webhook_id: str) -> bytes | None:
        """The secret under the current key; None if its key is current or ahead. Raises as `open` does."""
        if sealed[:KEY_ID_BYTES] in self.lasting:
            return None
        return self.seal(self.open(sealed, webhook_id), webhook_id)


class _Key:
    def __init__(self, secret: bytes) -> None:
        self.id = derive_key(secret, "webhook secret key id")[:KEY_ID_BYTES]
        self._cipher = AESGCM(derive_key(secret, "webhook secret"))

    def seal(self, secret: bytes, webhook_id: str) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self.id + nonce + self._cipher.encrypt(nonce, secret, webhook_id.encode())

    def open(self, sealed: bytes, webhook_id: str) -> bytes:
        nonce, rest = sealed[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES], sealed[KEY_ID_BYTES + NONCE_BYTES :]
        return self._cipher.decrypt(nonce, rest, webhook_id.encode())
