"""Keeps PostgreSQL's clock measured in this process (server/data/clock.py), and warns if the host's clock differs much.

Stored times never come from the host's clock, so a wrong one harms no data. It does affect log lines, the checks of
certificates by clients, and signatures that others verify, so it should be set.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from math import inf
from time import monotonic

import psycopg

from server.data.clock import MOMENT, SharedClock, shared
from server.data.connections import DatabaseUnavailable, Result
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.faults import Ailing
from server.kernel.record.metrics import CLOCK_SKEW
from server.kernel.repeating import repeat
from server.workers.attendance import Run

log = logging.getLogger("plinth.clock")
INTERVAL = 5.0
# Seconds that a host's clock may be off before a warning.
MOST_SKEW = 5.0
# Seconds between two warnings.
NEXT_WORD = 600.0
# Seconds between two attempts at the first measurement.
PAUSE = 1.0


class ClockWatch:
    """Measures from time to time in one process."""

    def __init__(
        self,
        run: Run,
        process: str,
        *,
        clock: SharedClock = shared,
        interval: float = INTERVAL,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`process` is the label in metrics."""
        self._run = run
        self._clock = clock
        self._interval = interval
        self._seconds = seconds
        self._gauge = CLOCK_SKEW.labels(process)
        self._looked = self._said = -inf

    def ask(self) -> None:
        """Measure if it is time, and raise Ailing while the host's clock is far off.

        A database that does not answer is reported by its own check.
        """
        if self._seconds() - self._looked >= self._interval:
            with suppress(psycopg.OperationalError):
                self.look()
            self._looked = self._seconds()
        skew = self._clock.skew
        if abs(skew) > MOST_SKEW:
            raise Ailing(_words(skew))

    def look(self) -> None:
        """Measure. Raises as running a statement does."""
        sent = self._clock.begin()
        self._clock.learn(sent, self._run(MOMENT).value())
        skew = self._clock.skew
        self._gauge.set(skew)
        if abs(skew) > MOST_SKEW and self._seconds() - self._said >= NEXT_WORD:
            log.warning("%s: set it, as with NTP; until then PostgreSQL's time is used", _words(skew))
            self._said = self._seconds()


class ClockKeeper:
    """A background service that measures in a worker, which has no health checks."""

    def __init__(self, database: Database, process: str, threads: Executor) -> None:
        self._database = database
        self._threads = threads
        self._watch = ClockWatch(self._ask, process)

    async def begin(self, stopped: asyncio.Event) -> bool:
        """Make the first measurement as soon as the database answers. False if `stopped` was set before."""
        loop, said = asyncio.get_running_loop(), False
        while not stopped.is_set():
            try:
                await loop.run_in_executor(self._threads, self._watch.look)
            except (psycopg.Error, DatabaseUnavailable) as error:
                if not said:
                    log.warning("PostgreSQL does not tell the time yet: %s", type(error).__name__)
                    said = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await stopped.wait()
            else:
                return True
        return False

    async def run(self) -> None:
        """Measure until cancelled."""
        await repeat("clock", self._watch.look, INTERVAL, self._threads)

    def _ask(self, statement: Statement, **parameters: object) -> Result:
        with self._database.read(Scope()) as transaction:
            return transaction.run(statement, **parameters)


def _words(skew: float) -> str:
    return f"the host's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} PostgreSQL's"
