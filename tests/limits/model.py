"""A world without chance: a clock that is turned by hand, Redis' script in Python, and what limits promise."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil, floor

import pytest

from server.kernel import rates
from server.kernel.guard import limits
from server.kernel.guard.limits import Grant
from server.kernel.rates import Rate

MICROSECONDS = 1_000_000
# The store's clock is another one than the workers'.
EPOCH = 1_750_000_000 * MICROSECONDS

# When a call was let through: the moments right before it asked and right after it was told.
Passed = tuple[float, float]


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    @property
    def microseconds(self) -> int:
        """The same moment, as the store counts."""
        return EPOCH + round(self.now * MICROSECONDS)


@contextmanager
def hand_turned_clock() -> Iterator[Clock]:
    """A clock for every RateLimiter."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "monotonic", clock)
        patch.setattr(rates, "monotonic", clock)
        yield clock


class ModelStore:
    """What the script of server/adapters/limits.py does."""

    def __init__(self, time: Callable[[], int]) -> None:
        self._time = time
        self._arrivals: dict[tuple[str, Rate], float] = {}

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        now, interval = self._time(), rate.interval * MICROSECONDS
        arrival = self._arrivals.get((key, rate), now)
        if unspent:
            arrival -= max(0.0, unspent * interval - max(0, now - since))
        arrival = max(arrival, now)
        free = rate.capacity - (arrival - now) / interval
        available = floor(free + 1e-6)
        share = max(1, available // 8)
        granted = max(0, min(want, available, share))
        arrival = ceil(arrival + granted * interval)
        self._arrivals[key, rate] = arrival
        retry = 0 if granted else ceil((1 - free) * interval)
        return Grant(granted, max(0, available - granted), retry / MICROSECONDS, (arrival - now) / MICROSECONDS, now)


def excess(rate: Rate, passed: Sequence[Passed]) -> float:
    """By how many calls the worst of all windows holds more than burst + rate x time; not above 0 when none does.

    A window begins when a call was about to ask, and ends when one had been told. It holds the calls that surely lie
    in it: those that had been told by its end, without those that asked before it began. So what a thread sleeps
    between asking and noting the time is never taken for a fault.
    """
    earned = 1 / rate.interval
    begins = sorted(before for before, _ in passed)
    ends = sorted(after for _, after in passed)
    worst, best_begin, place = float("-inf"), float("-inf"), 0
    for told, end in enumerate(ends, 1):
        while place < len(begins) and begins[place] <= end:
            best_begin = max(best_begin, earned * begins[place] - place)
            place += 1
        worst = max(worst, told - earned * end + best_begin)
    return worst - rate.calls
