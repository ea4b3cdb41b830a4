"""The ceremonies of passkeys (WebAuthn Level 3, section 7): options for the browser, and what it answers to them.

A challenge is signed, and bound to what it is for. Nothing is stored for who asks for one; it is stored once it was
answered by a passkey that is known, so that no answer is taken twice.
"""

import secrets
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from server.json_values import JsonValue
from server.kernel.clock import Clock
from server.kernel.keys import Signatures
from server.secrets import Secrets

LIFETIME = timedelta(minutes=10)
NONCE_BYTES = 16
TIME_BYTES = 8
LOG_IN = "log in"
ES256, EDDSA, RS256 = -7, -8, -257
ALGORITHMS = (ES256, EDDSA, RS256)
"""What all authenticators have one of (COSE, RFC 9053 and 8812)."""
COSE_ALGORITHM = 3
"""The label of the algorithm in a COSE key."""
DAMAGED = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError),
    *(RecursionError, struct.error),
)
"""What reading an answer raises that is not one."""
Json = Mapping[str, JsonValue]


class WrongPasskey(Exception):
    """What the browser answered is not valid."""


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey that was made."""

    credential_id: bytes
    credential: bytes
    """Id, key and model, as the authenticator attests them."""
    sign_count: int
    is_synced: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a passkey answers, before it was verified."""

    credential_id: bytes
    challenge: bytes
    user_handle: bytes
    response: AuthenticationResponse


class PasskeyCeremonies:
    """Makes options, and verifies answers. Knows no database."""

    def __init__(self, given: Secrets, clock: Clock, *, name: str, domain: str, origins: Collection[str]) -> None:
        """`given` are the deployment's secrets, `name` that of the product; passkeys belong to `domain`."""
        self._signatures = Signatures(given, "passkey challenge")
        self._clock = clock
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(name=name, id=domain), verify_origin=lambda origin: origin in origins
        )
        self._server.allowed_algorithms = [
            PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=each) for each in ALGORITHMS
        ]

    def creation_options(
        self, purpose: str, user: tuple[bytes, str, str], known: Collection[bytes]
    ) -> tuple[Json, datetime]:
        """Options to make a passkey, and when they expire.

        `user` are the id, the address and the name. Authenticators that have one of the `known` passkeys make no other.
        """
        challenge, expires = self._challenge(purpose)
        handle, address, name = user
        options, _ = self._server.register_begin(
            PublicKeyCredentialUserEntity(id=handle, name=address, display_name=name or address),
            [PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=each) for each in known],
            resident_key_requirement=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
            challenge=challenge,
        )
        return cast("Json", dict(options.public_key)), expires

    def request_options(self) -> tuple[Json, datetime]:
        """Options to sign in, and when they expire."""
        challenge, expires = self._challenge(LOG_IN)
        options, _ = self._server.authenticate_begin(
            user_verification=UserVerificationRequirement.REQUIRED, challenge=challenge
        )
        return cast("Json", dict(options.public_key)), expires

    def made(self, purpose: str, credential: Json) -> NewPasskey:
        """The passkey that was made. Raises WrongPasskey."""
        try:
            response = RegistrationResponse.from_dict(credential)
            client = response.response.client_data
            self._check(purpose, client.challenge, is_embedded=client.cross_origin)
            attested = self._server.register_complete(_state(client.challenge), response)
            return _new(attested)
        except DAMAGED as error:
            raise WrongPasskey from error

    def read(self, credential: Json) -> Answer:
        """What a passkey answers, to be verified with what is stored of it. Raises WrongPasskey."""
        try:
            response = AuthenticationResponse.from_dict(credential)
            client = response.response.client_data
            self._check(LOG_IN, client.challenge, is_embedded=client.cross_origin)
            handle = response.response.user_handle or b""
            return Answer(response.raw_id, client.challenge, handle, response)
        except DAMAGED as error:
            raise WrongPasskey from error

    def verify(self, answer: Answer, credential: bytes, sign_count: int) -> int:
        """Verify an answer with the stored credential and count. Returns the new count. Raises WrongPasskey.

        A count that does not grow tells of a copied authenticator (section 6.1.1); those that do not count send 0.
        """
        try:
            known = AttestedCredentialData(credential)
            self._server.authenticate_complete(_state(answer.challenge), [known], answer.response)
        except DAMAGED as error:
            raise WrongPasskey from error
        count = answer.response.response.authenticator_data.counter
        if (count or sign_count) and count <= sign_count:
            raise WrongPasskey
        return count

    def _challenge(self, purpose: str) -> tuple[bytes, datetime]:
        expires = self._clock() + LIFETIME
        body = secrets.token_bytes(NONCE_BYTES) + int(expires.timestamp()).to_bytes(TIME_BYTES, "big")
        return body + self._signatures.sign(body + purpose.encode()), expires

    def _check(self, purpose: str, challenge: bytes, *, is_embedded: bool) -> None:
        """Raise ValueError for a challenge that was not made for this, or has expired, and for a page in a page."""
        body, signature = challenge[: NONCE_BYTES + TIME_BYTES], challenge[NONCE_BYTES + TIME_BYTES :]
        if not self._signatures.verify(body + purpose.encode(), signature):
            raise ValueError("the challenge was not made here, or for something else")
        if int.from_bytes(body[NONCE_BYTES:], "big") < self._clock().timestamp():
            raise ValueError("the challenge has expired")
        if is_embedded:
            raise ValueError("the page is shown within one of another origin")


def handle_of(user_id: str) -> bytes:
    """The id by which passkeys know a user."""
    return UUID(user_id).bytes


def _state(challenge: bytes) -> Mapping[str, object]:
    """What fido2 would have kept between its two halves of a ceremony."""
    return {"challenge": websafe_encode(challenge), "user_verification": UserVerificationRequirement.REQUIRED}


def _new(attested: AuthenticatorData) -> NewPasskey:
    data = attested.credential_data
    if data is None or data.public_key.get(COSE_ALGORITHM) not in ALGORITHMS:
        raise ValueError("the key is of another kind than those that were asked for")
    return NewPasskey(
        credential_id=data.credential_id,
        credential=bytes(data),
        sign_count=attested.counter,
        is_synced=bool(attested.flags & AuthenticatorData.FLAG.BS),
    )
