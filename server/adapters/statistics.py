"""Statistics of processes in Redis: what each one has to tell of its cache (see server/domains/operations/cache.py)."""

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
        """Say what a process has to tell now. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            self._client.hset(KEY, name, text)

    def read(self) -> dict[str, str]:
        """What every process said last. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            found = self._client.hgetall(KEY)
        return {_text(name): _text(text) for name, text in found.items()}

    def forget(self, names: Collection[str]) -> None:
        """Drop what these processes said. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            self._client.hdel(KEY, *names)


def _text(found: bytes | str) -> str:
    return found.decode() if isinstance(found, bytes) else found
