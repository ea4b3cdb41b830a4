"""PostgreSQL's clock, as this process last measured it.

Processes on other hosts compare stored times: leases, retries, expiries. The clocks of hosts differ; PostgreSQL's is
the one that they share. A query for each time would cost a round trip. Each process therefore measures the difference
to a local clock that never steps, and adds it. Every new connection measures before it is used, and so does the health
check (`ask`). The error is at most half a round trip, plus the drift of the host's clock until the next measurement.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import DateTime, text

from server.data.statements import Statement

# A clock that includes the time asleep, if the system has one.
BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
MOMENT = Statement(text("SELECT clock_timestamp()").columns(clock_timestamp=DateTime(timezone=True)))
"""Returns the time by PostgreSQL's clock."""


def steady() -> float:
    """Seconds by a local clock that is never set."""
    return time.clock_gettime(BOOT)


class SharedClock:
    """PostgreSQL's time. Until the first measurement it is the time of the host."""

    def __init__(self, own: Callable[[], float] = steady, host: Callable[[], float] = time.time) -> None:
        """`own` counts seconds and never steps; `host` returns Unix time by the host's clock."""
        self._own = own
        self._host = host
        self._lock = threading.Lock()
        self.forget()

    def seconds(self) -> float:
        """Unix time, in seconds."""
        return self._own() + self._ahead

    @property
    def skew(self) -> float:
        """Seconds by which the host's clock is ahead of PostgreSQL's; negative if it is behind."""
        return self._host() - self.seconds()

    def forget(self) -> None:
        """Use the host's time until the next measurement, as in a process that was just forked."""
        self._ahead = self._host() - self._own()
        self._is_measured = False

    def begin(self) -> float:
        """The start of a measurement, for `learn`."""
        return self._own()

    def learn(self, sent: float, moment: datetime) -> None:
        """PostgreSQL returned `moment` between `sent`, which `begin` returned, and now.

        The known difference stays unless the answer contradicts it, because a slow answer is imprecise.
        """
        told = moment.timestamp()
        least, most = told - self._own(), told - sent
        with self._lock:
            known = self._ahead if self._is_measured else (least + most) / 2
            self._ahead = min(max(known, least), most)
            self._is_measured = True


shared = SharedClock()
