"""A circuit breaker for Redis: while it is away, nobody waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import redis

# After a failure, callers are told at once for this long.
REST = 1.0
# Seconds after which a failure tells nothing any more, if nobody asked again.
NEWS = 10.0


class Breaker:
    """Passes calls on while Redis answers, and refuses them at once for a while after it did not."""

    def __init__(self, name: str = "") -> None:
        """`name` is what is kept there: `limits`."""
        self.name = name
        self.failures = 0
        """How often Redis did not do what it was asked."""
        self._closed_again = 0.0
        self._error: redis.RedisError | None = None

    @contextmanager
    def guard(self, away: type[Exception]) -> Iterator[None]:
        """Run a block that asks Redis. Raises `away` when Redis does not answer, or did not a moment ago."""
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
        """Why the last block failed, unless that was long ago."""
        return self._error if monotonic() < self._closed_again + NEWS else None


class Breakers:
    """The breakers of one process."""

    def __init__(self) -> None:
        self._all: list[Breaker] = []

    def make(self, name: str) -> Breaker:
        """One more."""
        self._all.append(Breaker(name))
        return self._all[-1]

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._all)


# How Redis says that it refuses, in whichever words the client leaves of it.
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
    """What is wrong with Redis, in general words: `is read-only`."""
    if type(error) in KINDS:
        return KINDS[type(error)]
    text = str(error)
    for mark, meaning in MEANINGS.items():
        if mark in text:
            return meaning
    # One that answers with an error of another kind refuses.
    what = "refuses" if isinstance(error, redis.ResponseError) else "does not answer"
    return f"{what} ({type(error).__name__})"
