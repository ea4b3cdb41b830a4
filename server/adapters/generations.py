"""Generations in Redis, for deployments of several hosts (see server/kernel/caching/generations.py)."""

from collections.abc import Sequence

from redis import Redis

from server.adapters.breaker import Breaker
from server.kernel.caching.generations import GenerationsAway, new_value

PREFIX = "plinth:generation:"


class RedisGenerations:
    """The generations of all hosts."""

    def __init__(self, client: Redis, breaker: Breaker) -> None:
        self._client = client
        self._breaker = breaker

    def read(self, slots: Sequence[int]) -> list[int]:
        """The values of the slots.

        A slot without a value gets a new one first, so that a Redis that lost its data invalidates all.
        """
        names = [f"{PREFIX}{slot}" for slot in slots]
        with self._breaker.guard(GenerationsAway):
            values = self._client.mget(names)
            missing = [name for name, value in zip(names, values, strict=True) if value is None]
            if missing:
                with self._client.pipeline(transaction=False) as pipeline:
                    for name in missing:
                        pipeline.set(name, new_value(), nx=True)
                    pipeline.execute()
                values = self._client.mget(names)
        return [int(value or 0) for value in values]

    def write(self, values: dict[int, int]) -> None:
        """Set values."""
        with self._breaker.guard(GenerationsAway):
            self._client.mset({f"{PREFIX}{slot}": value for slot, value in values.items()})
