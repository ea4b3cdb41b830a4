"""Statistics of processes in Redis: each process publishes those of its own, for all to read."""

from collections.abc import Collection

from redis import Redis

from server.adapters.breaker import Breaker
from server.kernel.caching.cache import StoreAway


class RedisStatistics:
    """One text per process, by its name."""

    def __init__(self, client: Redis, breaker: Breaker, kind: str) -> None:
        """`kind` is what they are about."""
        self._client = client
        self._breaker = breaker
        self._key = f"plinth:{kind}:statistics"

    def publish(self, name: str, text: str) -> None:
        """Store the current statistics of a process. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            self._client.hset(self._key, name, text)

    def read(self) -> dict[str, str]:
        """The last published statistics of every process. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            found = self._client.hgetall(self._key)
        return {_text(name): _text(text) for name, text in found.items()}

    def forget(self, names: Collection[str]) -> None:
        """Delete the statistics of these processes. Raises StoreAway."""
        with self._breaker.guard(StoreAway):
            self._client.hdel(self._key, *names)


def _text(found: bytes | str) -> str:
    return found.decode() if isinstance(found, bytes) else found
