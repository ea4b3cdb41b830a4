"""Statistics of processes in Redis: each process publishes those of its cache (server/domains/operations/cache.py)."""

from collections.abc import Collection

from redis import Redis

from server.adapters.breaker import Breaker
from server.kernel.caching.cache import StoreAway

KEY = "plinth:cache:statistics"


class RedisStatistics:
    """One text per process, by its name."""

    def __init__(self, client: Redis, breaker: Breaker) -> None:
        self._client = client
        self._breaker = breaker

    def publish(self, name: str, text: str) -> None:
        """Store the current statistics of a process. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            self._client.hset(KEY, name, text)

    def read(self) -> dict[str, str]:
        """The last published statistics of every process. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            found = self._client.hgetall(KEY)
        return {_text(name): _text(text) for name, text in found.items()}

    def forget(self, names: Collection[str]) -> None:
        """Delete the statistics of these processes. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            self._client.hdel(KEY, *names)


def _text(found: bytes | str) -> str:
    return found.decode() if isinstance(found, bytes) else found
