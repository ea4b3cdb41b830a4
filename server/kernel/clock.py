"""Time: UTC and injectable. Whoever needs the time takes a Clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)
