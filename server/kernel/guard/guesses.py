"""Guesses: failures to authenticate, counted by network.

Programs and open tabs send an expired credential again and again, which is no sign of guessing. The same credential
therefore counts once per window, and only a caller that tries different ones is treated as guessing. Two bytes of a
keyed hash are kept of each credential: enough to recognise it among a few hundred, too little to find out a mistyped
password.
"""

from time import monotonic
from typing import Protocol

from server.kernel.addresses import IPV6_STEPS, Network, networks_of
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.keys import sign
from server.kernel.rates import Rate

MARK_BYTES = 2
# Marks kept per network: more than the failures that any network may have before it is blocked.
MOST_MARKS = 1_000
# Marks kept per process, about 200 bytes each, so that a repeated credential costs no round trip.
REMEMBERED = 10_000


class Marks(Protocol):
    """The store of failed credentials, shared by all workers."""

    def add(self, subject: str, mark: bytes, seconds: float, most: int) -> bool:
        """Whether a mark is new for a subject. It is kept until `seconds` after the subject's first one.

        A subject with `most` marks gets no further ones, so every other mark counts as new. Raises LimitsAway.
        """


class Guesses:
    """Counts failures to authenticate."""

    def __init__(self, limiter: RateLimiter, rate: Rate, marks: Marks, key: bytes) -> None:
        """`rate` is the failures allowed to one caller; `key` keys the hashes of credentials."""
        self._limiter = limiter
        self._marks = marks
        self._key = key
        self._period = rate.period
        self._rates = {callers: Rate(rate.calls * callers, rate.period) for callers in (1, *IPV6_STEPS.values())}
        self._known: dict[tuple[str, bytes], float] = {}

    def count(self, address: str, credential: bytes) -> Network | None:
        """Count a failure. Returns the widest network that exceeds its limit, or None. Never fails."""
        networks = networks_of(address)
        if not networks:
            return None
        try:
            if not self.is_new(str(networks[-1][0]), credential):
                return None
            return self._exceeded(networks)
        except LimitsAway:
            return None

    def is_new(self, subject: str, credential: bytes) -> bool:
        """Whether a credential has not failed for this subject within the window. Raises LimitsAway."""
        mark = sign(self._key, subject.encode() + b"\0" + credential)[:MARK_BYTES]
        name, now = (subject, mark), monotonic()
        if self._known.get(name, 0.0) > now:
            return False
        is_new = self._marks.add(subject, mark, self._period, MOST_MARKS)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        # Kept for half a window, because another worker may have added the mark earlier: it must not outlive the
        # store's.
        self._known[name] = now + self._period / 2
        return is_new

    def _exceeded(self, networks: list[tuple[Network, int]]) -> Network | None:
        """Charge each network that contains the address."""
        found: Network | None = None
        for network, callers in networks:
            if not self._limiter.take(f"auth_failure:address:{network}", self._rates[callers]).allowed:
                found = network
        return found
