"""Challenges of sign-ins: proof that the password of a user was right, for who brings the code of the second factor.

A challenge is signed and nothing of it is stored. It lasts ten minutes, and ends with the password.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from server.data.statements import Row, uuid_text
from server.kernel.clock import Clock
from server.kernel.keys import Signatures
from server.kernel.problems import Unauthenticated
from server.secrets import Secrets

PREFIX = "psc_"
LIFETIME = timedelta(minutes=10)
ID_BYTES = 16
NOBODY = bytes(ID_BYTES)
TIME_BYTES = 8
MARK_BYTES = 32
BODY_BYTES = 2 * ID_BYTES + TIME_BYTES + MARK_BYTES


@dataclass(frozen=True, slots=True)
class SignInChallenge:
    """What a challenge says."""

    user_id: str
    tenant_id: str | None
    mark: bytes
    """The signature of the hash that the password had."""


class SignInChallenges:
    """Makes challenges, and reads them."""

    def __init__(self, given: Secrets, clock: Clock) -> None:
        """`given` are the deployment's secrets."""
        self._signatures = Signatures(given, "sign-in challenge")
        self._clock = clock

    def new(self, row: Row, tenant_id: str | None) -> tuple[str, datetime]:
        """A challenge for the user in a row, to sign in to a tenant, and when it expires."""
        expires = self._clock() + LIFETIME
        body = (
            UUID(row["id"]).bytes
            + (UUID(tenant_id).bytes if tenant_id else NOBODY)
            + int(expires.timestamp()).to_bytes(TIME_BYTES, "big")
            + self._signatures.sign(_password(row["password_hash"]))
        )
        return PREFIX + base64.urlsafe_b64encode(body + self._signatures.sign(body)).decode(), expires

    def read(self, challenge: str) -> SignInChallenge:
        """What a challenge says. Raises Unauthenticated for one that was not made here, or has expired."""
        try:
            raw = base64.b64decode(challenge.removeprefix(PREFIX), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise wrong_challenge() from error
        body, signature = raw[:BODY_BYTES], raw[BODY_BYTES:]
        if not challenge.startswith(PREFIX) or not self._signatures.verify(body, signature):
            raise wrong_challenge()
        user, tenant, rest = body[:ID_BYTES], body[ID_BYTES : 2 * ID_BYTES], body[2 * ID_BYTES :]
        if int.from_bytes(rest[:TIME_BYTES], "big") < self._clock().timestamp():
            raise wrong_challenge()
        return SignInChallenge(uuid_text(user), None if tenant == NOBODY else uuid_text(tenant), rest[TIME_BYTES:])

    def is_of(self, challenge: SignInChallenge, password_hash: str) -> bool:
        """Whether the password is still the one that was right."""
        return self._signatures.verify(_password(password_hash), challenge.mark)


def wrong_challenge() -> Unauthenticated:
    """The problem of a challenge that is not valid, or no longer."""
    return Unauthenticated("The challenge is not valid, or no longer: sign in again.")


def _password(password_hash: str) -> bytes:
    return f"password {password_hash}".encode()
