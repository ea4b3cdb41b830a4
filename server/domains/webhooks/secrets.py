"""Stored secrets of webhooks. A job seals them anew after a rotation of PLINTH_SECRET_KEY."""

import secrets
from contextlib import suppress
from datetime import datetime

from server.data.statements import Row
from server.kernel.sealing import SealedBox, UnknownKey
from server.secrets import Secrets

__all__ = ["SecretBox", "UnknownKey", "new_secret"]
SECRET_BYTES = 32


def new_secret() -> bytes:
    """Generate a secret: the key of an HMAC, or the seed of an Ed25519 key pair."""
    return secrets.token_bytes(SECRET_BYTES)


class SecretBox(SealedBox):
    """Seals and opens secrets of webhooks."""

    def __init__(self, given: Secrets) -> None:
        """`given` are the deployment's secrets."""
        super().__init__(given, "webhook secret")

    def open_all(self, row: Row, webhook_id: str, now: datetime) -> list[bytes]:
        """The secrets that sign messages now. `row` has `secret`, `previous_secret` and `previous_secret_expire_time`.

        Raises as `open` does, but skips a previous secret under an unknown key, because the current one remains.
        """
        found, until = [self.open(row["secret"], webhook_id)], row["previous_secret_expire_time"]
        if until is not None and until > now:
            with suppress(UnknownKey):
                found.append(self.open(row["previous_secret"], webhook_id))
        return found
