"""The cache of answers: how well it works, dropping what is in it, and filling it."""

import contextlib
import json
from collections.abc import Callable
from typing import TypedDict

from plinth.operations.v1 import cache_pb2
from plinth.operations.v1.cache_pb2 import CacheStats

from server.kernel.caching import AnswerCache, Counts, Generations, StoreAway
from server.kernel.call import Call
from server.kernel.clock import unix_now
from server.kernel.loops import Loop
from server.kernel.ports import StatisticsStore
from server.kernel.resources import Service

INTERVAL = 5.0
# Seconds after which a process that has said nothing counts as gone.
LATEST = 60.0
EVERYTHING = "*"
WHAT_HAPPENED = ("memory_hits", "redis_hits", "misses", "coalesced")


class ProcessCounts(TypedDict):
    """What the cache of one process has done, as it is published in JSON."""

    time: float
    """Unix time at which it was told."""
    methods: dict[str, list[int]]
    """By the method's path without the leading slash: a number for each of WHAT_HAPPENED."""
    entries: int
    bytes: int
    evictions: int


class CacheStatistics:
    """What the caches of all processes have done; each publishes its own counts."""

    def __init__(self, store: StatisticsStore, cache: AnswerCache | None, process: Callable[[], str]) -> None:
        """`process` gives the name of this process, unlike any other's."""
        self._store = store
        self._cache = cache
        self._process = process
        self._loop = Loop("cache statistics", self._publish, INTERVAL, at_once=True)

    def start(self) -> None:
        """Begin to publish, unless this process caches nothing."""
        if self._own():
            self._loop.start()

    def close(self) -> None:
        """Publish no more; what an ended process has done is not counted."""
        self._loop.stop(INTERVAL)
        if self._own():
            with contextlib.suppress(StoreAway):
                self._store.forget([self._process()])

    def gather(self) -> list[ProcessCounts]:
        """The counts of every process seen within the last minute, this one's as they are right now."""
        own = self._own()
        return [*own, *self._others()] if own else []

    def _own(self) -> list[ProcessCounts]:
        """The counts of this process; none where no method is cached."""
        cache = self._cache
        if cache is None or not cache.counts:
            return []
        methods = {path.removeprefix("/"): _numbers(counts) for path, counts in cache.counts.items()}
        return [
            ProcessCounts(
                time=unix_now(),
                methods=methods,
                entries=cache.entries,
                bytes=cache.bytes,
                evictions=cache.evictions,
            )
        ]

    def _others(self) -> list[ProcessCounts]:
        """What the others said last; while the store is away, nothing is known of them."""
        try:
            told: dict[str, ProcessCounts] = {
                name: json.loads(text) for name, text in self._store.read().items() if name != self._process()
            }
            latest = unix_now() - LATEST
            silent = [name for name, counts in told.items() if counts["time"] < latest]
            if silent:
                # They publish again should they be alive.
                self._store.forget(silent)
        except StoreAway:
            return []
        return [counts for name, counts in told.items() if name not in silent]

    def _publish(self) -> None:
        with contextlib.suppress(StoreAway):
            self._store.publish(self._process(), json.dumps(*self._own()))


def _numbers(counts: Counts) -> list[int]:
    return [counts.memory_hits, counts.store_hits, counts.misses, counts.coalesced]


class CacheService(Service):
    """The cache of answers."""

    descriptor = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]

    def __init__(
        self, statistics: CacheStatistics, generations: Generations, warm: Callable[[Call, str], list[str]]
    ) -> None:
        """`warm` reads what everyone in a tenant shares, through the cache, and gives the names of the methods."""
        super().__init__()
        self.parts = (statistics,)
        self._statistics = statistics
        self._generations = generations
        self._warm = warm

    def get_cache_stats(self, call: Call, request: cache_pb2.GetCacheStatsRequest) -> CacheStats:
        """The counts of all workers; zeros when nothing is cached."""
        del request, call
        workers = self._statistics.gather()
        methods = _sums(workers)
        reads = sum(map(sum, methods.values()))
        misses = sum(numbers[WHAT_HAPPENED.index("misses")] for numbers in methods.values())
        return CacheStats(
            methods=[
                CacheStats.Method(name=name, **dict(zip(WHAT_HAPPENED, numbers, strict=True)))
                for name, numbers in sorted(methods.items())
            ],
            hit_rate=(reads - misses) / reads if reads else 0.0,
            entries=sum(worker["entries"] for worker in workers),
            bytes=sum(worker["bytes"] for worker in workers),
            evictions=sum(worker["evictions"] for worker in workers),
            workers=len(workers),
        )

    def invalidate_cache(
        self, call: Call, request: cache_pb2.InvalidateCacheRequest
    ) -> cache_pb2.InvalidateCacheResponse:
        """Drop what stands under tags, or everything."""
        del call
        tags = [EVERYTHING] if request.everything else list(request.tags)
        # Nothing is written here that a commit would have to come before.
        self._generations.invalidate(tags)
        return cache_pb2.InvalidateCacheResponse(tags=tags)

    def warm_cache(self, call: Call, request: cache_pb2.WarmCacheRequest) -> cache_pb2.WarmCacheResponse:
        """Read what everyone in a tenant shares."""
        return cache_pb2.WarmCacheResponse(methods=self._warm(call, request.tenant_id))


def _sums(workers: list[ProcessCounts]) -> dict[str, list[int]]:
    """Method to what happened to its reads in all workers."""
    sums: dict[str, list[int]] = {}
    for worker in workers:
        for name, numbers in worker["methods"].items():
            known = sums.setdefault(name, [0] * len(WHAT_HAPPENED))
            sums[name] = [one + other for one, other in zip(known, numbers, strict=True)]
    return sums
