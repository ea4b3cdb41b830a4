"""Metering: once a second, the counts of a process's parts are added to its metrics (kernel/record/metrics.py).

No call runs any of this. A process that is killed loses the counts of the last second.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from time import time

import psutil
from prometheus_client import Counter, Histogram

from server import pulses
from server.adapters.breaker import Breaker
from server.data.connections import Connections
from server.kernel.caching.cache import AnswerCache
from server.kernel.dependencies import Dependencies
from server.kernel.guard.pools import CallThreads
from server.kernel.loops import Loop
from server.kernel.record import metrics
from server.kernel.record.metrics import CallTally, QueryTally, Tally
from server.kernel.steps.limit import Limit
from server.kernel.steps.shed import Shed

log = logging.getLogger("plinth.metering")
INTERVAL = 1.0
LAST_READING = 5.0

Reading = Callable[[], None]


class Meter:
    """Takes the readings of one process in a thread of its own."""

    def __init__(self, readings: Callable[[], Iterable[Reading]]) -> None:
        """`readings` is called when the meter starts: metrics belong to a process that has joined (files.py)."""
        self._make = readings
        self._readings: tuple[Reading, ...] = ()
        self._failed: set[Reading] = set()
        self._loop = Loop("meter", self.read, INTERVAL, at_once=True, at_end=True)

    def start(self) -> None:
        """Start the thread."""
        self._readings = tuple(self._make())
        self._loop.start()

    def close(self) -> None:
        """Take the last readings, and stop."""
        self._loop.stop(LAST_READING)

    def read(self) -> None:
        """Take every reading once."""
        for reading in self._readings:
            try:
                reading()
            except Exception:
                # The other readings are still taken, and a repeated failure is logged once.
                if reading not in self._failed:
                    log.exception("a reading fails")
                self._failed.add(reading)


# Metrics that follow numbers. A number that stays 0 has no series: a histogram has about fifteen for each RPC.


class Follower:
    """Makes a counter follow a number that only grows."""

    def __init__(self, increase: Callable[[float], None]) -> None:
        self._increase = increase
        self._seen = 0.0

    def follow(self, total: float) -> None:
        """Set the current number."""
        if total > self._seen:
            self._increase(total - self._seen)
            self._seen = total


class Followers:
    """Makes the counters of a metric follow numbers, one for each value of the last label."""

    def __init__(self, counter: Counter, *labels: str) -> None:
        self._labelled = partial(counter.labels, *labels)
        self._followers: dict[str, Follower] = {}

    def follow(self, **totals: float) -> None:
        """Set the current numbers."""
        for label, total in totals.items():
            if total:
                follower = self._followers.get(label)
                if follower is None:
                    follower = self._followers[label] = Follower(self._labelled(label).inc)
                follower.follow(total)


class TallyFollower:
    """Makes a histogram follow a tally with the same buckets."""

    def __init__(self, histogram: Histogram, label: str) -> None:
        self._labelled = partial(histogram.labels, label)
        self._followers: list[Follower] = []

    def follow(self, tally: Tally) -> None:
        """Set the current tally."""
        if not self._followers and any(tally.counts):
            # prometheus_client cannot observe many values at once. tests/telemetry fails when its internals change.
            child = self._labelled()
            self._followers = [Follower(value.inc) for value in (*child._buckets, child._sum)]  # noqa: SLF001
        for follower, total in zip(self._followers, (*tally.counts, tally.seconds), strict=False):
            follower.follow(total)


# Readings.


def of_calls(tallies: Mapping[str, CallTally]) -> Reading:
    """The unary calls of each RPC, whose tally is made at its first call."""
    each: dict[str, Reading] = {}

    def read() -> None:
        for path, tally in list(tallies.items()):
            if path not in each:
                each[path] = _of_calls(tally)
            each[path]()

    return read


def _of_calls(tally: CallTally) -> Reading:
    codes = Followers(metrics.REQUESTS, tally.label)
    succeeded, failed = (TallyFollower(metrics.REQUEST_SECONDS, tally.label) for _ in range(2))

    def read() -> None:
        codes.follow(OK=sum(tally.succeeded.counts), **tally.codes)
        succeeded.follow(tally.succeeded)
        failed.follow(tally.failed)

    return read


def of_queries(pool: str, connections: Connections) -> Reading:
    """The round trips over these connections from now on."""
    tally = QueryTally(pool)
    connections.observe(tally)
    durations = TallyFollower(metrics.QUERY_SECONDS, tally.label)
    failures = Follower(metrics.QUERY_FAILURES.labels(tally.label).inc)

    def read() -> None:
        durations.follow(tally.durations)
        failures.follow(tally.failures)

    return read


def of_connections(process: str, pool: str, connections: Connections) -> Reading:
    """A pool of connections, and its round trips from now on."""
    queries = of_queries(pool, connections)
    gauges = (metrics.CONNECTIONS_LIMIT, metrics.CONNECTIONS, metrics.CONNECTIONS_USED, metrics.CONNECTIONS_WAITING)
    limit, there, used, waiting = (gauge.labels(process, pool) for gauge in gauges)

    def read() -> None:
        queries()
        usage = connections.usage
        limit.set(usage.limit)
        there.set(usage.there)
        used.set(usage.used)
        waiting.set(usage.waiting)

    return read


def of_threads(process: str, pool: str, threads: CallThreads) -> Reading:
    """A pool of threads."""
    size, busy, queued = (
        gauge.labels(process, pool) for gauge in (metrics.THREADS, metrics.THREADS_BUSY, metrics.THREADS_QUEUED)
    )

    def read() -> None:
        size.set(threads.size)
        busy.set(threads.busy)
        queued.set(threads.waiting)

    return read


def of_cache(process: str, cache: AnswerCache) -> Reading:
    """The cache of answers. The counts of an RPC are made at its first call."""
    each: dict[str, Followers] = {}
    evictions = Follower(metrics.CACHE_EVICTIONS.inc)
    entries, size = (gauge.labels(process) for gauge in (metrics.CACHE_ENTRIES, metrics.CACHE_BYTES))

    def read() -> None:
        for path, counts in list(cache.counts.items()):
            followers = each.setdefault(path, Followers(metrics.CACHE_READS, path.removeprefix("/")))
            hits = {"memory_hit": counts.memory_hits, "store_hit": counts.store_hits}
            followers.follow(**hits, coalesced=counts.coalesced, miss=counts.misses)
        evictions.follow(cache.evictions)
        entries.set(cache.entries)
        size.set(cache.bytes)

    return read


def of_limits(limit: Limit) -> Reading:
    """The outcomes of rate limits."""
    each = [(counts, Followers(metrics.LIMITS, rate_class)) for rate_class, counts in limit.counts.items()]

    def read() -> None:
        for counts, followers in each:
            followers.follow(**asdict(counts))

    return read


def of_shedding(shed: Shed) -> Reading:
    """Calls refused under load."""
    refused = Follower(metrics.SHED.inc)
    return lambda: refused.follow(shed.refused)


def of_dependencies(process: str, dependencies: Dependencies) -> Reading:
    """The findings about all dependencies of the platform."""

    def read() -> None:
        for finding in dependencies.findings:
            metrics.DEPENDENCY_UP.labels(process, finding.name).set(finding.is_there)
            metrics.DEPENDENCY_SECONDS.labels(process, finding.name).set(finding.latency.total_seconds())

    return read


def of_pulses(process: str) -> Reading:
    """The last round of each background thread and reader; 0 for one that was asked to end."""
    told: set[str] = set()

    def read() -> None:
        now, known = time(), list(pulses.known())
        for pulse in known:
            metrics.LOOP_LIMIT.labels(process, pulse.name).set(pulse.limit)
            # For a dead one, the time of the last round is the beginning of time.
            metrics.LOOP_SUCCESS.labels(process, pulse.name).set(max(1.0, now - pulse.silence))
        names = {pulse.name for pulse in known}
        for name in told - names:
            metrics.LOOP_SUCCESS.labels(process, name).set(0)
        told.clear()
        told.update(names)

    return read


def of_breakers(process: str, breakers: Iterable[Breaker]) -> Reading:
    """The failures of Redis."""
    each = [(breaker, Follower(metrics.REDIS_FAILURES.labels(breaker.name).inc)) for breaker in breakers]

    def read() -> None:
        for breaker, failures in each:
            failures.follow(breaker.failures)
            metrics.REDIS_FAILING.labels(process, breaker.name).set(breaker.error is not None)

    return read


def of_process(process: str) -> Reading:
    """The process itself."""
    itself = psutil.Process()
    start, memory = metrics.PROCESS_START.labels(process), metrics.PROCESS_MEMORY.labels(process)
    cpu = Follower(metrics.PROCESS_CPU.labels(process).inc)

    def read() -> None:
        times = itself.cpu_times()
        cpu.follow(times.user + times.system)
        memory.set(itself.memory_info().rss)
        start.set(itself.create_time())

    return read
