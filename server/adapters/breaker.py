"""A circuit breaker for Redis: while it does not answer, no call waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import redis

# Seconds after a failure for which calls fail at once.
REST = 1.0
# Seconds after which a failure is outdated, if there was no further request.
NEWS = 10.0


class Breaker:
    """Passes calls on while Redis answers. After a failure it refuses them at once for a while."""

    def __init__(self, name: str = "") -> None:
        """`name` is the data that is kept there, such as `limits`."""
        self.name = name
        self.failures = 0
        """Number of failed requests."""
        self._closed_again = 0.0
        self._error: redis.RedisError | None = None

    @contextmanager
    def guard(self, away: type[Exception]) -> Iterator[None]:
        """Run a block that uses Redis. Raises `away` if Redis does not answer, or did not a moment ago."""
        if monotonic() < self._closed_again:
            raise away
        try:
            yield
        except redis.RedisError as error:
            self._closed_again = monotonic() + REST
            self._error = error
            self.failures += 1
            raise away from error
        if self._error is not None:
            self._error = None

    @property
    def error(self) -> redis.RedisError | None:
        """The cause of the last failure, unless that was long ago."""
        return self._error if monotonic() < self._closed_again + NEWS else None


class Breakers:
    """The breakers of one process."""

    def __init__(self) -> None:
        self._all: list[Breaker] = []

    def make(self, name: str) -> Breaker:
        """Make a breaker."""
        self._all.append(Breaker(name))
        return self._all[-1]

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._all)


# The refusals of Redis, in any wording that the client leaves of them.
MEANINGS = {
    "OOM": "is out of memory",
    "maxmemory": "is out of memory",
    "read only": "is read-only",
    "MISCONF": "cannot write to its disk",
    "NOREPLICAS": "has too few replicas to be written to",
}
KINDS: dict[type[redis.RedisError], str] = {
    redis.ReadOnlyError: "is read-only",
    redis.OutOfMemoryError: "is out of memory",
    redis.BusyLoadingError: "is loading its data",
}


def words(error: redis.RedisError) -> str:
    """The fault of Redis in general words: `is read-only`."""
    if type(error) in KINDS:
        return KINDS[type(error)]
    text = str(error)
    for mark, meaning in MEANINGS.items():
        if mark in text:
            return meaning
    # Redis answered, so it refuses.
    what = "refuses" if isinstance(error, redis.ResponseError) else "does not answer"
    return f"{what} ({type(error).__name__})"
