"""A circuit breaker for one provider: while it does not answer, no call waits for it.

That of Redis (server/adapters/breaker.py) opens at the first failure, for a second. Redis is near, and a request to it
takes milliseconds. A provider fails now and then, so one request that fails says little.
"""

from collections.abc import Callable
from time import monotonic

# Failures in a row after which requests fail at once, and seconds for which they do.
FAILURES = 5
REST = 10.0


class ProviderBreaker:
    """Counts failures in a row. After a rest it lets one request through, whose outcome decides."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._closed_again = 0.0

    @property
    def wait(self) -> float:
        """Seconds until the next request is let through; 0 for now."""
        return max(0.0, self._closed_again - self._clock())

    def admit(self) -> bool:
        """Whether a request may be sent. The one after a rest keeps the others away until its outcome is known."""
        if self.wait:
            return False
        if self._failures >= FAILURES:
            self._closed_again = self._clock() + REST
        return True

    def note(self, *, answers: bool) -> None:
        """Take note of an outcome: whether the provider has answered with anything but an error of its own."""
        self._failures = 0 if answers else self._failures + 1
        if answers:
            self._closed_again = 0.0
        elif self._failures >= FAILURES:
            self._closed_again = self._clock() + REST
