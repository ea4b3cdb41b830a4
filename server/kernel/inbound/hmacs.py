"""HMAC-SHA256 over bodies, in the two forms in which providers send it.

Both compare in constant time, and accept the signature of any of several secrets, so that one can be replaced.
"""

import hmac
from collections.abc import Iterable

from server.kernel.inbound.signatures import BadSignature

TOLERANCE = 300.0
# Signatures in one header: one for each of the secrets that a provider signs with at a time.
MOST_SIGNATURES = 10
LONGEST_HEADER = 2_000
LONGEST_TIME = 12


def check_signed(body: bytes, given: str, secrets: Iterable[bytes], prefix: str = "") -> None:
    """Check the hexadecimal signature of a body, as in `X-Hub-Signature-256: sha256=...`. Raises BadSignature."""
    if not given.startswith(prefix):
        raise BadSignature
    _check_any(body, [given.removeprefix(prefix)], secrets)


def check_timestamped(
    body: bytes, header: str, secrets: Iterable[bytes], now: float, *, scheme: str = "v1", tolerance: float = TOLERANCE
) -> None:
    """Check a header `t=<Unix time>,v1=<signature>` over `<time>.<body>`, as in `Stripe-Signature`.

    Any of several signatures may fit. Raises BadSignature, also for a time further from `now` than `tolerance` seconds:
    what was sent long ago is sent again by somebody else.
    """
    time, signatures = parse_timestamped(header, scheme)
    _check_any(time.encode() + b"." + body, signatures, secrets)
    # After the signature, which costs the same whatever the time is.
    if abs(now - int(time)) > tolerance:
        raise BadSignature(f"The signature is of another time than now, by more than {tolerance:.0f} s.")


def parse_timestamped(header: str, scheme: str = "v1") -> tuple[str, list[str]]:
    """The time as it is written, and the signatures of a scheme. Raises BadSignature."""
    parts = [part.strip().partition("=") for part in header[:LONGEST_HEADER].split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == scheme]
    if len(times) != 1 or not 0 < len(signatures) <= MOST_SIGNATURES:
        raise BadSignature
    time = times[0]
    if not (time.isascii() and time.isdigit() and len(time) <= LONGEST_TIME):
        raise BadSignature
    return time, signatures


def _check_any(message: bytes, given: Iterable[str], secrets: Iterable[bytes]) -> None:
    expected = [hmac.digest(secret, message, "sha256").hex().encode() for secret in secrets]
    candidates = [signature.lower().encode() for signature in given]
    # Every pair is compared: which one fits is not told by the time.
    fits = [hmac.compare_digest(wanted, candidate) for wanted in expected for candidate in candidates]
    if not any(fits):
        raise BadSignature
