"""Ids: UUIDv7 (RFC 9562), so that they sort by time of creation and index well."""

import os
import re
from datetime import UTC, datetime
from itertools import count

from server.kernel.clock import unix_now

RANDOM_BYTES = 10
# The two highest bits of the ninth byte are 10 (RFC 9562, 4.1).
VARIANTS = "89ab"
DIGITS = 32


_FORM = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _FORM.fullmatch(text) is not None


def new_id() -> str:
    """A new UUIDv7 as text: 48 bits of Unix milliseconds, then 74 random bits."""
    random = os.urandom(RANDOM_BYTES)
    digits = random.hex()
    stamp = f"{int(unix_now() * 1000):012x}"
    variant = VARIANTS[random[0] >> 6]
    return f"{stamp[:8]}-{stamp[8:]}-7{digits[1:4]}-{variant}{digits[5:8]}-{digits[8:]}"


def made_at(uuid: str) -> datetime:
    """When an id was made. Raises ValueError for a text that is no UUIDv7."""
    digits = uuid.replace("-", "")
    if len(digits) != DIGITS or digits[12] != "7":
        raise ValueError("this is no UUIDv7")
    return datetime.fromtimestamp(int(digits[:12], 16) / 1000, UTC)


_numbers = count(1)
_process = new_id()


def next_id() -> str:
    """A unique id at a tenth of the cost: the id of the process, and a number."""
    return f"{_process}-{next(_numbers):x}"


def _become_another() -> None:
    """Give a forked process an id of its own."""
    global _process  # noqa: PLW0603 - one per process
    _process = new_id()


os.register_at_fork(after_in_child=_become_another)
