"""Rates: how many calls there may be in how much time, and what a caller is told about them."""

from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import NamedTuple

from server.kernel.problems import RateLimited

# Seconds for which leased calls may be spent; shorter for short periods, so that capacity loses at most 1 %.
LEASE = 0.5
SHARE_OF_PERIOD = 0.01
# Calls that a key gains while a lease lasts. With fewer, an unspent one is worth nothing when it is given back, and
# asking for each is cheap, since they are few.
FEWEST_GAINED = 8


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls allowed per window."""

    calls: int
    period: float
    """Length of the window in seconds."""

    @property
    def interval(self) -> float:
        """Seconds in which one call is gained."""
        return self.period / self.calls

    @property
    def lease_time(self) -> float:
        """Seconds for which leased calls may be spent; 0 where calls are too few to be leased."""
        seconds = min(LEASE, self.period * SHARE_OF_PERIOD)
        return seconds if seconds >= FEWEST_GAINED * self.interval else 0.0

    @property
    def capacity(self) -> float:
        """Calls that the store may hand out at once."""
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
    """Whether a call is let through, and what its caller is told."""

    rate: Rate
    remaining: int
    reset_at: float
    """monotonic() at which all calls are there again."""
    retry_after: float = 0.0
    """Seconds until a call is let through again; 0 when this one is."""
    since: int = 0
    """When the call was charged, by the store's own clock; for who gives it back."""

    @property
    def allowed(self) -> bool:
        """Whether the call is let through."""
        return not self.retry_after

    @property
    def reset_after(self) -> float:
        """Seconds until all calls are there again."""
        return max(0.0, self.reset_at - monotonic())


def refusal(rate_class: str, scope: str, verdict: Verdict) -> RateLimited:
    """The problem of a limit that is used up."""
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
