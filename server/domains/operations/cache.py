"""The cache of answers: its statistics, its invalidation and its warming."""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import TypedDict

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from plinth.operations.v1 import cache_pb2
from plinth.operations.v1.cache_pb2 import CacheStats
from plinth.types.v1.explanation_pb2 import Explanation

from server.kernel.caching import AnswerCache, Counts, Generations, StoreAway
from server.kernel.call import Call
from server.kernel.clock import unix_now
from server.kernel.loops import Loop
from server.kernel.policy import MethodPolicy, method_named
from server.kernel.ports import CacheExplainer, StatisticsStore
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Service

INTERVAL = 5.0
# Seconds after which a silent process counts as gone.
LATEST = 60.0
EVERYTHING = "*"
WHAT_HAPPENED = ("memory_hits", "redis_hits", "misses", "coalesced")


class ProcessCounts(TypedDict):
    """The statistics of one process's cache, as published in JSON."""

    time: float
    """Unix time of the statistics."""
    methods: dict[str, list[int]]
    """By the path of the method without the leading slash: one number for each name in WHAT_HAPPENED."""
    entries: int
    bytes: int
    evictions: int


class CacheStatistics:
    """The statistics of all processes' caches. Each process publishes its own."""

    def __init__(self, store: StatisticsStore, cache: AnswerCache | None, process: Callable[[], str]) -> None:
        """`process` returns the unique name of this process."""
        self._store = store
        self._cache = cache
        self._process = process
        self._loop = Loop("cache statistics", self._publish, INTERVAL, at_once=True)

    def start(self) -> None:
        """Start to publish, unless this process caches nothing."""
        if self._own():
            self._loop.start()

    def close(self) -> None:
        """Stop, and withdraw the statistics of this process."""
        self._loop.stop(INTERVAL)
        if self._own():
            with contextlib.suppress(StoreAway):
                self._store.forget([self._process()])

    def gather(self) -> list[ProcessCounts]:
        """The statistics of all processes seen within the last minute; those of this process are current."""
        own = self._own()
        return [*own, *self._others()] if own else []

    def _own(self) -> list[ProcessCounts]:
        """The statistics of this process; empty if no method is cached."""
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
        """The last statistics of the other processes; empty while the store does not answer."""
        try:
            told: dict[str, ProcessCounts] = {
                name: json.loads(text) for name, text in self._store.read().items() if name != self._process()
            }
            latest = unix_now() - LATEST
            silent = [name for name, counts in told.items() if counts["time"] < latest]
            if silent:
                # A process that is still alive publishes again.
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
        self,
        statistics: CacheStatistics,
        generations: Generations,
        warm: Callable[[Call, str], list[str]],
        policies: Mapping[str, MethodPolicy],
        explainer: CacheExplainer,
    ) -> None:
        """`warm` reads the data that all users of a tenant share through the cache.

        Returns the names of the methods.
        """
        super().__init__()
        self.parts = (statistics,)
        self._statistics = statistics
        self._generations = generations
        self._warm = warm
        self._policies = policies
        self._explainer = explainer

    def get_cache_stats(self, call: Call, request: cache_pb2.GetCacheStatsRequest) -> CacheStats:
        """The sums over all processes; zeros if nothing is cached."""
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
        """Invalidate tags, or everything."""
        del call
        tags = [EVERYTHING] if request.everything else list(request.tags)
        # No row is written, so there is no commit to wait for.
        self._generations.invalidate(tags)
        return cache_pb2.InvalidateCacheResponse(tags=tags)

    def explain_cached_answer(self, call: Call, request: cache_pb2.ExplainCachedAnswerRequest) -> Explanation:
        """Why the answer to a request is, or is not, served from memory."""
        del call
        method = method_named(self._policies, "method", request.method)
        asked = _parsed(method, request.request or "{}")
        return self._explainer.explain(method, request.tenant_id.lower(), request.caller_id.lower(), asked)

    def warm_cache(self, call: Call, request: cache_pb2.WarmCacheRequest) -> cache_pb2.WarmCacheResponse:
        """Read the data that all users of a tenant share."""
        return cache_pb2.WarmCacheResponse(methods=self._warm(call, request.tenant_id))


def _parsed(method: MethodPolicy, text: str) -> Message:
    """The request of an RPC from its JSON. Raises RuleViolated."""
    kind = method.descriptor.input_type
    message: Message = GetMessageClass(kind)()
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return json_format.ParseDict(value, message)
    except (ValueError, RecursionError, json_format.ParseError):
        pass
    raise broken_rules([Violation("request", f"is no {kind.name} as JSON", "request.json")])


def _sums(workers: list[ProcessCounts]) -> dict[str, list[int]]:
    """The sums over all processes, by method."""
    sums: dict[str, list[int]] = {}
    for worker in workers:
        for name, numbers in worker["methods"].items():
            known = sums.setdefault(name, [0] * len(WHAT_HAPPENED))
            sums[name] = [one + other for one, other in zip(known, numbers, strict=True)]
    return sums
