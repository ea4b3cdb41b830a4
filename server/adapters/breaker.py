"""A circuit breaker for Redis: while it is away, nobody waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import redis

# After a failure, callers are told at once for this long.
REST = 1.0


class Breaker:
    """Passes calls on while Redis answers, and refuses them at once for a while after it did not."""

    def __init__(self) -> None:
        self._closed_again = 0.0

    @contextmanager
    def guard(self, away: type[Exception]) -> Iterator[None]:
        """Run a block that asks Redis. Raises `away` when Redis does not answer, or did not a moment ago."""
        if monotonic() < self._closed_again:
            raise away
        try:
            yield
        except redis.RedisError as error:
            self._closed_again = monotonic() + REST
            raise away from error
