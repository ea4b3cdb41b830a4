"""The probe of Redis: it writes, as limits and caches do, and reports failures that the breakers saw."""

from collections.abc import Iterable

import redis

from server.adapters.breaker import Breaker, words
from server.faults import Ailing

KEY = "plinth:probe"
# Milliseconds for which the key is kept.
KEPT = 60_000


class RedisProbe:
    """Checks the Redis of one process."""

    def __init__(self, client: redis.Redis, breakers: Iterable[Breaker], refused: str) -> None:
        """`refused` says which calls are refused in the meantime. It may be empty."""
        self._client = client
        self._breakers = breakers
        self._refused = refused

    def ask(self) -> None:
        """Raise Ailing if Redis does not answer or refuses."""
        try:
            self._client.set(KEY, b"1", px=KEPT)
        except redis.RedisError as error:
            raise self._ailment(words(error)) from error
        for breaker in self._breakers:
            if breaker.error is not None:
                raise self._ailment(f"{words(breaker.error)} when asked for {breaker.name}")

    def _ailment(self, text: str) -> Ailing:
        return Ailing(f"{text}; {self._refused}" if self._refused else text)
