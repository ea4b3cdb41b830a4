"""A client that does what the headers say."""

from collections.abc import Callable, Iterator
from math import ceil

from server.kernel.guard.limits import RateLimiter
from server.kernel.rates import Rate

KEY = "default:user:ada"


class ObedientClient:
    """Calls while something remains, one call after the other, and else waits as long as it is told.

    It hears of whole seconds only, as the headers have them.
    """

    def __init__(
        self,
        rate: Rate,
        turns: Iterator[RateLimiter],
        now: Callable[[], float],
        wait: Callable[[float], None],
        *,
        think: float = 0.0,
    ) -> None:
        """`turns` are the workers in the order in which they get its calls; it thinks for a while after each."""
        self.refused = 0
        self._rate = rate
        self._turns = turns
        self._now = now
        self._wait = wait
        self._think = think
        self._pause = 0.0
        self._calls: list[float] = []
        self._used_up: list[int] = []

    def call(self) -> None:
        """One call, and the waiting before it."""
        self._wait(self._pause)
        verdict = next(self._turns).take(KEY, self._rate)
        self._calls.append(self._now())
        self.refused += not verdict.allowed
        self._pause = self._think
        if not verdict.remaining:
            self._used_up.append(len(self._calls))
            self._pause = ceil(verdict.reset_after)

    def use_up(self, times: int) -> None:
        """Call until nothing remained so many times."""
        while len(self._used_up) < times:
            self.call()

    @property
    def share(self) -> float:
        """What part it got of `rate x time`, from the first time that nothing remained until the last."""
        first, last = self._used_up[0], self._used_up[-1]
        return (last - first) * self._rate.interval / (self._calls[last - 1] - self._calls[first - 1])

    @property
    def share_of_offered(self) -> float:
        """The same, without what nobody can get who comes too late: what is not fetched in time does not pile up."""
        first, last = self._used_up[0], self._used_up[-1]
        level = offered = 0.0
        for before, moment in zip(self._calls[first - 1 : last - 1], self._calls[first:last], strict=True):
            gained = min((moment - before) / self._rate.interval, self._rate.calls - level)
            offered += gained
            level += gained - 1
        return (last - first) / offered
