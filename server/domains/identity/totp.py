"""Codes of authenticator apps: TOTP (RFC 6238) with SHA-1, six digits and 30 seconds, which is what all apps know."""

import base64
import hmac
import secrets
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

SECRET_BYTES = 20
"""As many as a key of SHA-1 has (RFC 4226, section 4, requirement 6)."""
DIGITS = 6
STEP = 30
"""Seconds."""
DRIFT = 1
"""Steps that the clock of a phone may be off, either way."""


def new_secret() -> bytes:
    """The secret that the server and an app share."""
    return secrets.token_bytes(SECRET_BYTES)


def typed(secret: bytes) -> str:
    """The form in which a secret is typed into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def enrolment_url(secret: bytes, account: str, issuer: str) -> str:
    """The `otpauth:` address of a secret, for a QR code."""
    # Apps show a plus as such, where the library means a blank.
    return _totp(secret).get_provisioning_uri(account, issuer).replace("+", "%20")


def matching_step(secret: bytes, code: str, now: datetime, after: int) -> int | None:
    """The time step to which a code belongs; None for a wrong code, and one of a step up to `after`, which was used.

    Every step is compared, so that the time taken tells nothing.
    """
    current = int(now.timestamp()) // STEP
    steps = range(current - DRIFT, current + DRIFT + 1)
    found = [step for step in steps if hmac.compare_digest(code_at(secret, step), code.encode())]
    return next((step for step in found if step > after), None)


def code_at(secret: bytes, step: int) -> bytes:
    """The code of a time step."""
    return _totp(secret).generate(step * STEP)


def _totp(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP)  # noqa: S303 - the HMAC of it, and the only one that all apps know
