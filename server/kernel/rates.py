"""Rates: the calls allowed per window, and the verdict that a caller gets."""

from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import NamedTuple

from server.kernel.problems import RateLimited

# Seconds for which leased calls may be spent. Shorter for short windows, so that at most 1 % of capacity is lost.
LEASE = 0.5
SHARE_OF_PERIOD = 0.01
# Smallest number of calls that a key must gain during a lease. With fewer, returning an unspent call is worth nothing,
# and asking for each call is cheap because they are few.
FEWEST_GAINED = 8


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls allowed per window."""

    calls: int
    period: float
    """Length of the window in seconds."""

    @property
    def interval(self) -> float:
        """Seconds until one more call is gained."""
        return self.period / self.calls

    @property
    def lease_time(self) -> float:
        """Seconds for which leased calls may be spent; 0 if calls are too few to be leased."""
        seconds = min(LEASE, self.period * SHARE_OF_PERIOD)
        return seconds if seconds >= FEWEST_GAINED * self.interval else 0.0

    @property
    def capacity(self) -> float:
        """Calls that the store may grant at once."""
        return self.calls - self.lease_time / self.interval

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """A rate as settings write it: `1000/60`. Raises ValueError."""
        calls, _, period = text.partition("/")
        rate = cls(int(calls), float(period))
        if rate.calls < 1 or not 0 < rate.period <= 86400:  # noqa: PLR2004 - a day
            raise ValueError("a rate is calls/seconds, such as 1000/60: at least one call, at most a day")
        return rate


class Verdict(NamedTuple):
    """Whether a call is allowed, and the figures that its caller is told."""

    rate: Rate
    remaining: int
    reset_at: float
    """The monotonic() time at which all calls are available again."""
    retry_after: float = 0.0
    """Seconds until the next call is allowed; 0 if this one is."""
    since: int = 0
    """The time of the charge by the clock of the store. It is needed to return the call."""

    @property
    def allowed(self) -> bool:
        """Whether the call is allowed."""
        return not self.retry_after

    @property
    def reset_after(self) -> float:
        """Seconds until all calls are available again."""
        return max(0.0, self.reset_at - monotonic())


class Standing(NamedTuple):
    """A limit that applies to a call, and what is left of it."""

    rate_class: str
    scope: str
    rate: Rate
    verdict: Verdict | None
    """None while the store does not answer."""
    is_strict: bool
    """Whether calls are refused while the store does not answer."""


def refusal(rate_class: str, scope: str, verdict: Verdict) -> RateLimited:
    """The problem of an exhausted rate limit."""
    rate = verdict.rate
    return RateLimited(
        f"More than {rate.calls} calls in {ceil(rate.period)} s: try again in {ceil(verdict.retry_after)} s.",
        metadata={
            "rate_class": rate_class,
            "limit": str(rate.calls),
            "period_seconds": str(ceil(rate.period)),
            "scope": scope,
        },
        retry_after=verdict.retry_after,
    )
