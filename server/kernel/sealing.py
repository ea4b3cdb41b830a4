"""Secrets that are stored to be read again: sealed with a key derived from the deployment's secret.

What is sealed is the id of the key, a nonce, and AES-256-GCM over the secret, bound to the row that holds it: moved to
another row it does not open. After a rotation of PLINTH_SECRET_KEY, what was sealed under the previous one still opens.
"""

import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.kernel.keys import derive_key
from server.secrets import Secrets

KEY_ID_BYTES = 8
NONCE_BYTES = 12


class UnknownKey(Exception):
    """A secret is sealed under a deployment secret that is accepted no more."""


class SealedBox:
    """Seals and opens the secrets of one purpose."""

    def __init__(self, given: Secrets, purpose: str) -> None:
        """`given` are the deployment's secrets. `purpose` separates the keys, such as `webhook secret`."""
        keys = [_Key(secret, purpose) for secret in given.accepted]
        self.lasting = frozenset(_Key(secret, purpose).id for secret in given.lasting)
        """The key ids of sealed secrets that need no resealing."""
        self._current = keys[0]
        self._keys = {key.id: key for key in keys}

    def seal(self, secret: bytes, row_id: str) -> bytes:
        """The sealed form of a secret of this row."""
        return self._current.seal(secret, row_id)

    def open(self, sealed: bytes, row_id: str) -> bytes:
        """Open a secret.

        Raises UnknownKey, and InvalidTag for one that was sealed for another row or is damaged.
        """
        key = self._keys.get(sealed[:KEY_ID_BYTES])
        if key is None:
            raise UnknownKey
        return key.open(sealed, row_id)

    def reseal(self, sealed: bytes, row_id: str) -> bytes | None:
        """The secret under the current key; None if its key is current or ahead. Raises as `open` does."""
        if sealed[:KEY_ID_BYTES] in self.lasting:
            return None
        return self.seal(self.open(sealed, row_id), row_id)


class _Key:
    def __init__(self, secret: bytes, purpose: str) -> None:
        self.id = derive_key(secret, f"{purpose} key id")[:KEY_ID_BYTES]
        self._cipher = AESGCM(derive_key(secret, purpose))

    def seal(self, secret: bytes, row_id: str) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self.id + nonce + self._cipher.encrypt(nonce, secret, row_id.encode())

    def open(self, sealed: bytes, row_id: str) -> bytes:
        nonce, rest = sealed[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES], sealed[KEY_ID_BYTES + NONCE_BYTES :]
        return self._cipher.decrypt(nonce, rest, row_id.encode())
