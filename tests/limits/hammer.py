"""Worker processes that ask for calls as often as they may, and note which ones they got."""

import secrets
import threading
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.rates import Rate
from tests.limits.engine import limits
from tests.limits.model import Passed

THREADS = 3
# Between rounds. The last one is longer than a lease of a short period.
PAUSES = (0.001, 0.001, 0.002, 0.002, 0.004, 0.03)
PROCESSES = get_context("spawn")


class Worker:
    """One process, from the side of the test."""

    def __init__(self, dsn: str, rates: list[Rate]) -> None:
        self._connection, other = PROCESSES.Pipe()
        self._counts: Any = PROCESSES.Array("l", 2)
        self._process = PROCESSES.Process(target=_run, args=(dsn, rates, self._counts, other), daemon=True)
        self._process.start()
        other.close()

    @property
    def passed(self) -> int:
        """How many calls it got so far."""
        return int(self._counts[0])

    @property
    def away(self) -> int:
        """How often it was told that the store is away."""
        return int(self._counts[1])

    def finish(self) -> dict[Rate, list[Passed]]:
        """Stop it; when each call of each key was let through."""
        self._connection.send("finish")
        passed: dict[Rate, list[Passed]] = self._connection.recv()
        self._process.join()
        return passed

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class _Hammer:
    """The same process from within: threads that share one limiter."""

    def __init__(self, dsn: str, rates: list[Rate], counts: Any) -> None:
        self.passed: dict[Rate, list[Passed]] = {rate: [] for rate in rates}
        self._limiter = RateLimiter(limits(dsn))
        self._counts = counts
        self._stopped = threading.Event()

    def run(self, connection: Connection) -> None:
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        connection.recv()
        self._stopped.set()
        for thread in threads:
            thread.join()
        connection.send(self.passed)

    def _work(self) -> None:
        while not self._stopped.wait(secrets.choice(PAUSES)):
            for rate in self.passed:
                self._take(rate)

    def _take(self, rate: Rate) -> None:
        before = time.monotonic()
        try:
            verdict = self._limiter.take(f"default:user:{rate.calls}", rate)
        except LimitsAway:
            self._counts[1] += 1
            return
        after = time.monotonic()
        if verdict.allowed:
            self.passed[rate].append((before, after))
            self._counts[0] += 1


def _run(dsn: str, rates: list[Rate], counts: Any, connection: Connection) -> None:
    _Hammer(dsn, rates, counts).run(connection)
