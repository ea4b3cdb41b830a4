"""Time: UTC and injectable. Code that needs the time takes a Clock.

The time is PostgreSQL's (server/data/clock.py), so that all hosts compare stored times alike.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from server.data.clock import shared

Clock = Callable[[], datetime]
unix_now = shared.seconds
"""Now, as Unix time in seconds. It costs a tenth of a datetime."""


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.fromtimestamp(unix_now(), UTC)


os.register_at_fork(after_in_child=shared.forget)
