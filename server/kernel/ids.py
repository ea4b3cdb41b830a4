"""Ids: UUIDv7 (RFC 9562), so that they sort by time of creation and index well."""

import os
import time

RANDOM_BYTES = 10
# The two highest bits of the ninth byte are 10 (RFC 9562, 4.1).
VARIANTS = "89ab"


def new_id() -> str:
    """A new UUIDv7 as text: 48 bits of Unix milliseconds, then 74 random bits."""
    random = os.urandom(RANDOM_BYTES)
    digits = random.hex()
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    variant = VARIANTS[random[0] >> 6]
    return f"{stamp[:8]}-{stamp[8:]}-7{digits[1:4]}-{variant}{digits[5:8]}-{digits[8:]}"
