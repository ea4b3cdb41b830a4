"""Rate limits: GCRA in a store that all workers share, taken in leases.

GCRA (ITU-T I.371; Brandur Leach, "Rate limiting, cells, and GCRA", 2015) keeps one number per key, the theoretical
arrival time. A key of `calls` per `period` gains a call every `period / calls` and holds at most `calls` of them.

A worker leases a small share of a key's calls in one round trip and spends it locally, because a round trip per call
costs more than everything else in the chain. A lease never lets a key exceed its limit:

- leased calls are charged when they are leased, and spent within LEASE, so in any time t at most
  `capacity + rate * (t + LEASE)` are spent; the store's capacity is smaller than `calls` by `rate * LEASE`;
- returned calls are credited minus the calls that were gained since they were leased. The store computes this by its
  own clock, because a request may be delayed on its way;
- leases shrink as calls run out. Near the limit each call is requested by itself, and the remaining number that a
  caller is told is the same on every worker.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from server.kernel.rates import Rate, Verdict

# A lease that is spent within this part of its time is followed by one of twice its size. Calls arrive unevenly, and
# calls that are leased and not spent in time are lost: with larger leases, callers lose a tenth of their calls or more.
QUICKLY = 1 / 8
LARGEST_LEASE = 1024
# Seconds added to the wait that a caller is told: the store counts microseconds, and clocks drift.
MARGIN = 0.001
# Keys kept per worker, about 500 bytes each.
REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer of the store."""

    calls: int
    """Number of leased calls; 0 if the limit is exhausted."""
    remaining: int
    """Number of calls left for other workers."""
    retry_after: float
    """Seconds until a call is gained, if none was leased."""
    reset_after: float
    """Seconds until all calls are available again."""
    at: int
    """Time of the grant by the store's clock."""


class LimitStore(Protocol):
    """The store of the numbers, shared by all workers."""

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        """Lease up to `want` calls, and return `unspent` calls of the grant that was made at `since`.

        With `want` 0 no call is leased, and the answer tells how many are available. Raises LimitsAway.
        """


class LimitsAway(Exception):
    """The store does not answer."""


@dataclass(slots=True)
class _Lease:
    """Leased calls. Each popped number is how many are left. `list.pop` is atomic, so threads share it unlocked."""

    rate: Rate
    calls: list[int] = field(default_factory=list)
    taken: float = 0.0
    since: int = 0
    until: float = 0.0
    beyond: int = 0
    reset_at: float = 0.0
    size: int = 1
    refused_until: float = 0.0
    retry_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class RateLimiter:
    """Allows calls within this worker's leases."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self._leases: dict[str, _Lease] = {}

    def take(self, key: str, rate: Rate) -> Verdict:
        """Spend one call of a key. Raises LimitsAway."""
        now = monotonic()
        lease = self._leases.get(key)
        if lease is None:
            lease = self._remember(key, rate)
        elif lease.rate is not rate and lease.rate != rate:
            # Grants and refusals under the previous rate do not apply to this one.
            lease = self._leases[key] = _Lease(rate)
        if now < lease.until:
            # Read first: if another lease begins in between, the call counts towards the older one.
            since = lease.since
            left = _spend(lease.calls)
            if left is not None:
                return Verdict(rate, left + lease.beyond, lease.reset_at, 0.0, since)
        if now < lease.refused_until:
            return self._refusal(lease, rate, now)
        return self._renew(key, lease, rate)

    def ask(self, key: str, rate: Rate) -> Verdict:
        """Whether a call would be allowed, without spending one. Raises LimitsAway."""
        lease, now = self._leases.get(key), monotonic()
        if lease is not None and lease.rate == rate:
            if now < lease.until and lease.calls:
                return Verdict(rate, len(lease.calls) + lease.beyond, lease.reset_at)
            if now < lease.refused_until:
                return self._refusal(lease, rate, now)
        grant = self._store.lease(key, rate, 0, 0, 0)
        now = monotonic()
        wait = 0.0 if grant.remaining else grant.retry_after + MARGIN
        return Verdict(rate, grant.remaining, now + grant.reset_after, wait)

    def give_back(self, key: str, verdict: Verdict) -> None:
        """Return the call of a verdict, because another limit refused it. Never fails.

        It returns to its lease while the lease lasts, or to the store where each call is requested by itself. A call of
        an expired lease stays spent: a lease lasts half a second.
        """
        lease, rate = self._leases.get(key), verdict.rate
        if lease is not None and lease.since == verdict.since and monotonic() < lease.until:
            lease.calls.append(len(lease.calls))
        elif not rate.lease_time:
            with suppress(LimitsAway):
                self._store.lease(key, rate, 0, 1, verdict.since)

    def _remember(self, key: str, rate: Rate) -> _Lease:
        if len(self._leases) >= REMEMBERED:
            # Leased calls are charged already, so callers lose the calls of half a second at most.
            self._leases.clear()
        return self._leases.setdefault(key, _Lease(rate))

    def _renew(self, key: str, lease: _Lease, rate: Rate) -> Verdict:
        """Ask the store, one thread at a time. A thread that waited may find that another has renewed the lease."""
        with lease.lock:
            now = monotonic()
            if now < lease.until:
                left = _spend(lease.calls)
                if left is not None:
                    return Verdict(rate, left + lease.beyond, lease.reset_at, 0.0, lease.since)
            if now < lease.refused_until:
                return self._refusal(lease, rate, now)
            unspent = _drain(lease.calls)
            want = _size(lease, rate, unspent, now - lease.taken)
            grant = self._store.lease(key, rate, want, unspent, lease.since)
            return self._receive(lease, rate, grant, now)

    def _receive(self, lease: _Lease, rate: Rate, grant: Grant, asked: float) -> Verdict:
        """Begin a lease. Its time counts from the request to the store, because the store charged it later than that.

        Count the wait from now, not from the store's answer, so that no caller retries too early.
        """
        now = monotonic()
        lease.taken, lease.since, lease.until = asked, grant.at, asked + rate.lease_time
        lease.beyond, lease.reset_at = grant.remaining, now + grant.reset_after
        lease.size = max(1, grant.calls)
        if not grant.calls:
            lease.refused_until, lease.retry_at = asked + grant.retry_after, now + grant.retry_after
            return self._refusal(lease, rate, now)
        if rate.lease_time:
            lease.calls.extend(range(grant.calls - 1))
        return Verdict(rate, grant.calls - 1 + grant.remaining, lease.reset_at, 0.0, grant.at)

    @staticmethod
    def _refusal(lease: _Lease, rate: Rate, now: float) -> Verdict:
        return Verdict(rate, 0, lease.reset_at, max(0.0, lease.retry_at - now) + MARGIN)


def _spend(calls: list[int]) -> int | None:
    """Spend a call. Returns how many are left, or None if there was none to spend."""
    try:
        return calls.pop()
    except IndexError:
        return None


def _drain(calls: list[int]) -> int:
    """Take all calls that are left, while other threads may still spend some. Returns their number."""
    count = 0
    while _spend(calls) is not None:
        count += 1
    return count


def _size(lease: _Lease, rate: Rate, unspent: int, age: float) -> int:
    """The size of the next lease: doubled after a quick one, halved after an unspent one, at most a twentieth."""
    if not rate.lease_time:
        return 1
    wanted = lease.size
    if unspent:
        wanted = lease.size // 2
    elif age < rate.lease_time * QUICKLY:
        wanted = lease.size * 2
    return max(1, min(wanted, LARGEST_LEASE, rate.calls // 20))


DEFAULT_RATES: Mapping[str, str] = {
    # decisions.md 11. Anonymous callers of class `default` fall under `general`.
    "general": "100/900",
    "default": "1000/60",
    "auth": "5/900",
    "ai": "10/60",
    "multimodal": "20/3600",
    "payment": "20/3600",
    "webhook": "30/60",
    "mail": "300/60",
    "analytics": "50/60",
    # Calls that providers sign, by key. What is refused is sent again, so this is far above what one key sends.
    "inbound": "6000/60",
    # All calls in one tenant.
    "tenant": "20000/60",
    # Telemetry of all callers in one tenant, which is not among those.
    "telemetry": "10000/10",
    # Calls that probes and browsers repeat, such as health and public keys.
    "probe": "600/60",
    # Files of visitors of a site: a page may show dozens of images.
    "download": "3000/60",
    # Failed attempts to authenticate from one address. Beyond the limit, the address is blocked. An account has twice
    # as many in four times the time, counted over all addresses.
    "auth_failure": "20/900",
}

DEVELOPMENT_RATES: Mapping[str, str] = {
    # A developer of a sign-in form signs in more than five times.
    "auth": "100/900",
}


def default_rates(environment: str) -> dict[str, str]:
    """The default rate of each class in an environment. Settings override it."""
    return {**DEFAULT_RATES, **(DEVELOPMENT_RATES if environment == "development" else {})}
