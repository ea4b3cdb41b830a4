"""PostgreSQL's clock, as this process last measured it.

Moments that are stored are compared by processes on other hosts: leases, retries, expiries. The clocks of hosts differ,
and PostgreSQL's is the one that all of them share. Asking it for each moment would cost a round trip, so each process
measures how far it is from a clock of its own that never steps, and adds that. Every new connection measures before it
is used, and so does whoever watches (`ask`). What is off is at most half a round trip, and whatever the host's clock
drifts until the next measurement.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import DateTime, text

from server.data.statements import Statement

# One that goes on while the machine sleeps, where there is one.
BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
MOMENT = Statement(text("SELECT clock_timestamp()").columns(clock_timestamp=DateTime(timezone=True)))
"""Answers what time it is by PostgreSQL's clock."""


def steady() -> float:
    """Seconds by a clock of this machine that nobody sets."""
    return time.clock_gettime(BOOT)


class SharedClock:
    """Tells PostgreSQL's time. Until it was measured for the first time, that is the host's."""

    def __init__(self, own: Callable[[], float] = steady, host: Callable[[], float] = time.time) -> None:
        """`own` counts seconds and never steps; `host` is Unix time as the host has it."""
        self._own = own
        self._host = host
        self._lock = threading.Lock()
        self.forget()

    def seconds(self) -> float:
        """Unix time, in seconds."""
        return self._own() + self._ahead

    @property
    def skew(self) -> float:
        """Seconds by which the host's clock is ahead of PostgreSQL's; negative where it is behind."""
        return self._host() - self.seconds()

    def forget(self) -> None:
        """Tell the host's time until the next measurement, as a process does that has just been forked."""
        self._ahead = self._host() - self._own()
        self._is_measured = False

    def begin(self) -> float:
        """What `learn` takes of the time before the question."""
        return self._own()

    def learn(self, sent: float, moment: datetime) -> None:
        """PostgreSQL said `moment` between `sent`, which `begin` gave, and now.

        What is known already stays unless it contradicts that: an answer that took long tells little.
        """
        told = moment.timestamp()
        least, most = told - self._own(), told - sent
        with self._lock:
            known = self._ahead if self._is_measured else (least + most) / 2
            self._ahead = min(max(known, least), most)
            self._is_measured = True


shared = SharedClock()
