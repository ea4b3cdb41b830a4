"""Guesses: failures to authenticate, counted by where they come from.

A credential that is no longer good is sent again and again by programs and open tabs, and tells nobody anything new.
The same one counts once per window, so that only a caller that tries different ones is taken for one that guesses. Two
bytes of a keyed hash are kept of it: enough to know it again among a few hundred, too little to find out a mistyped
password.
"""

from time import monotonic
from typing import Protocol

from server.kernel.addresses import IPV6_STEPS, Network, networks_of
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.keys import sign
from server.kernel.rates import Rate

MARK_BYTES = 2
# Marks of one network: more than any network has failures before it is blocked.
MOST_MARKS = 1_000
# Marks remembered per process, some 200 bytes each, so that a repeated credential costs no round trip.
REMEMBERED = 10_000


class Marks(Protocol):
    """Where the credentials that failed are remembered for all workers."""

    def add(self, subject: str, mark: bytes, seconds: float, most: int) -> bool:
        """Whether a mark is new for a subject. It is kept until `seconds` after the subject's first one.

        A subject that has `most` of them gets no further ones, which then stay new. Raises LimitsAway.
        """


class Guesses:
    """Counts failures to authenticate."""

    def __init__(self, limiter: RateLimiter, rate: Rate, marks: Marks, key: bytes) -> None:
        """`rate` is how many failures one caller has; `key` makes the hashes of what failed."""
        self._limiter = limiter
        self._marks = marks
        self._key = key
        self._period = rate.period
        self._rates = {callers: Rate(rate.calls * callers, rate.period) for callers in (1, *IPV6_STEPS.values())}
        self._known: dict[tuple[str, bytes], float] = {}

    def count(self, address: str, credential: bytes) -> Network | None:
        """Count a failure; the widest network that has had too many, if there is one. Never fails."""
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
        """Whether a credential that failed has not failed there lately, and counts therefore. Raises LimitsAway."""
        mark = sign(self._key, subject.encode() + b"\0" + credential)[:MARK_BYTES]
        name, now = (subject, mark), monotonic()
        if self._known.get(name, 0.0) > now:
            return False
        is_new = self._marks.add(subject, mark, self._period, MOST_MARKS)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        # Other workers may have seen it first; it is looked for again before it can have been forgotten everywhere.
        self._known[name] = now + self._period / 2
        return is_new

    def _exceeded(self, networks: list[tuple[Network, int]]) -> Network | None:
        """Charge each network that the address is in."""
        found: Network | None = None
        for network, callers in networks:
            if not self._limiter.take(f"auth_failure:address:{network}", self._rates[callers]).allowed:
                found = network
        return found
