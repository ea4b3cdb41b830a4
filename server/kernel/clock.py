"""Time: UTC and injectable. Code that needs the time takes a Clock.

It is PostgreSQL's time (server/data/clock.py), so that every host judges a stored moment alike.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from server.data.clock import shared

Clock = Callable[[], datetime]
unix_now = shared.seconds
"""Now, as Unix time in seconds: a tenth of the price of a datetime."""


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.fromtimestamp(unix_now(), UTC)


os.register_at_fork(after_in_child=shared.forget)
