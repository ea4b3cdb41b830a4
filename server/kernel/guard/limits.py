"""Rate limits: GCRA in a store that all workers share, taken in leases.

GCRA (ITU-T I.371; Brandur Leach, "Rate limiting, cells, and GCRA", 2015) keeps one number per key, the theoretical
arrival time. A key of `calls` per `period` gains a call every `period / calls` and holds at most `calls` of them.

A worker takes a small share of a key's calls in one round trip and spends it locally, since a round trip per call costs
more than everything else in the chain. That a lease never lets a key exceed its limit:

- leased calls are charged when they are leased, and spent within LEASE, so in any time t at most
  `capacity + rate * (t + LEASE)` are spent; the store's capacity is smaller than `calls` by `rate * LEASE`;
- what is given back counts for less by what was gained since it was leased (the store works that out, by its own clock:
  a request may be long on its way);
- the less is left, the smaller the leases: in the end each call is asked for by itself, and what a caller is told
  remains is what every worker would tell.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from server.kernel.rates import Rate, Verdict

# A lease that was spent in this part of its time is followed by one of twice its size. Callers do not come evenly, and
# what is leased and not spent in time is lost to them: with larger leases they lose a tenth of their calls or more.
QUICKLY = 1 / 8
LARGEST_LEASE = 1024
# Seconds that a caller is told to wait beyond what it takes: the store counts microseconds, and clocks drift.
MARGIN = 0.001
# Keys remembered per worker, some 500 bytes each.
REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What the store answered."""

    calls: int
    """How many were leased; 0 when none is left."""
    remaining: int
    """How many are left for everybody else."""
    retry_after: float
    """Seconds until a call is gained, when none was leased."""
    reset_after: float
    """Seconds until all calls are there again."""
    at: int
    """When it was made, by the store's own clock."""


class LimitStore(Protocol):
    """Where the numbers are kept for all workers."""

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        """Take up to `want` calls, and give back `unspent` ones of the grant that was made at `since`.

        With a `want` of 0 nothing is taken, and the answer tells how many could be. Raises LimitsAway.
        """


class LimitsAway(Exception):
    """The store does not answer."""


@dataclass(slots=True)
class _Lease:
    """Calls to spend: what is popped is how many are left. `list.pop` is atomic, so threads share them unlocked."""

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
    """Lets calls through, for the workers' share of what the store hands out."""

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
            # What the other rate allowed or refused says nothing about this one.
            lease = self._leases[key] = _Lease(rate)
        if now < lease.until:
            # Read first: when another lease begins meanwhile, the call counts as one of the older.
            since = lease.since
            left = _spend(lease.calls)
            if left is not None:
                return Verdict(rate, left + lease.beyond, lease.reset_at, 0.0, since)
        if now < lease.refused_until:
            return self._refusal(lease, rate, now)
        return self._renew(key, lease, rate)

    def ask(self, key: str, rate: Rate) -> Verdict:
        """Whether a call would be let through, without spending one. Raises LimitsAway."""
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
        """Give back the call that a verdict let through, since another limit refused it. Never fails.

        It goes back to the lease that it is of, while that lasts; to the store where each call is asked for by itself.
        A call of a lease that is over stays spent: what is leased lasts half a second.
        """
        lease, rate = self._leases.get(key), verdict.rate
        if lease is not None and lease.since == verdict.since and monotonic() < lease.until:
            lease.calls.append(len(lease.calls))
        elif not rate.lease_time:
            with suppress(LimitsAway):
                self._store.lease(key, rate, 0, 1, verdict.since)

    def _remember(self, key: str, rate: Rate) -> _Lease:
        if len(self._leases) >= REMEMBERED:
            # What was leased is charged: callers lose less than half a second's worth.
            self._leases.clear()
        return self._leases.setdefault(key, _Lease(rate))

    def _renew(self, key: str, lease: _Lease, rate: Rate) -> Verdict:
        """Ask the store, one thread at a time; who waited may find that another one has brought something."""
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
        """Begin a lease. The store charged it after it was asked: the time to spend it in counts from then.

        What a caller waits for counts from now, which is later than the store means: it does not come too early.
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
    """Take one; how many are left, or None when there was none."""
    try:
        return calls.pop()
    except IndexError:
        return None


def _drain(calls: list[int]) -> int:
    """Take all that are left, while other threads may still spend; how many they were."""
    count = 0
    while _spend(calls) is not None:
        count += 1
    return count


def _size(lease: _Lease, rate: Rate, unspent: int, age: float) -> int:
    """Twice the last lease when that was spent quickly, half of it when it was not spent; at most a twentieth."""
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
    "analytics": "50/60",
    # Everything that happens in one tenant.
    "tenant": "20000/60",
    # What probes and browsers ask again and again, such as health and public keys.
    "probe": "600/60",
    # Failed attempts to authenticate from one address; beyond it, the address is blocked. An account has twice as many
    # in four times the time, from all addresses together.
    "auth_failure": "20/900",
}

DEVELOPMENT_RATES: Mapping[str, str] = {
    # A developer of a sign-in form signs in more often than five times.
    "auth": "100/900",
}


def default_rates(environment: str) -> dict[str, str]:
    """The rate of each class in an environment, unless the settings say otherwise."""
    return {**DEFAULT_RATES, **(DEVELOPMENT_RATES if environment == "development" else {})}
