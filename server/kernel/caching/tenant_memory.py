"""What a process remembers of each tenant, such as its limits, and reads again once it may have changed."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

import psycopg

from server.data.connections import DatabaseUnavailable
from server.kernel.caching.generations import Generations, Stamp

T = TypeVar("T")
# Seconds until the next query after PostgreSQL did not answer.
PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    value: T
    slots: tuple[int, ...]
    stamp: Stamp


class TenantMemory(Generic[T]):
    """Something of each tenant in the memory of this process. While PostgreSQL does not answer, what is known holds."""

    def __init__(self, generations: Generations, tag: str, read: Callable[[str], T], *, most: int) -> None:
        """`tag` is the cache tag of what is remembered, with `{tenant_id}` in it. `read` reads it for one.

        `most` tenants are remembered; then all are forgotten.
        """
        self._generations = generations
        self._tag = tag
        self._read = read
        self._most = most
        self._known: dict[str, _Known[T]] = {}
        self._ask_after = 0.0

    def of(self, tenant_id: str) -> T:
        """That of a tenant. Raises DatabaseUnavailable, and what `read` raises, if nothing is known."""
        known = self._known.get(tenant_id)
        if known is not None and self._generations.is_current(known.slots, known.stamp):
            return known.value
        if monotonic() < self._ask_after:
            if known is None:
                raise DatabaseUnavailable
            return known.value
        slots = self._generations.slots((self._tag.format(tenant_id=tenant_id),))
        # Taken before the read, so that a change during the read makes the stamp outdated.
        stamp = self._generations.stamp(slots)
        try:
            value = self._read(tenant_id)
        except (psycopg.Error, DatabaseUnavailable):
            self._ask_after = monotonic() + PAUSE
            if known is None:
                raise
            return known.value
        if stamp is not None:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[tenant_id] = _Known(value, slots, stamp)
        return value
