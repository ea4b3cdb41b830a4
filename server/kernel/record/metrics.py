"""Metrics of calls, queries and guards, counted at almost no cost.

Labels are bounded: methods, status codes, outcomes, names of processes; never a tenant, a user or an address. Other
metrics are defined where they are counted.

A counter that processes share takes a lock and writes to a mapped file: counting a call and its duration that way costs
4 us. Events of every call are therefore counted in plain integers (`Tally`, 0.15 us) and transferred once a second
(server/metrics/metering.py). `x[i] += 1` on a list of integers is atomic: CPython releases the interpreter lock at
calls and jumps, and there are none in between.
"""

from bisect import bisect_left
from collections.abc import Sequence

import grpc
from prometheus_client import Counter, Gauge, Histogram

from server.data.observer import RoundTrip
from server.kernel.policy import MethodPolicy

# Seconds. The buckets must include the thresholds of alerts and dashboards.
CALLS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 2.5, 5.0, 15.0)
QUERIES = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    """A gauge with the last value that each process set. It disappears with the process."""
    return Gauge(name, text, ["process", *labels], multiprocess_mode="livemostrecent")


REQUESTS = Counter("plinth_requests", "Unary calls that ended, by gRPC status code.", ["method", "code"])
REQUEST_SECONDS = Histogram(
    "plinth_request_seconds", "How long unary calls took in the chain.", ["method"], buckets=CALLS
)
STREAMS = Counter("plinth_streams", "Live streams that ended, by gRPC status code.", ["method", "code"])
QUERY_SECONDS = Histogram(
    "plinth_query_seconds",
    "How long round trips to PostgreSQL took, by pool of connections.",
    ["pool"],
    buckets=QUERIES,
)
QUERY_FAILURES = Counter("plinth_query_failures", "Round trips to PostgreSQL that failed.", ["pool"])

CACHE_READS = Counter("plinth_cache_reads", "Reads through the cache, by what came of them.", ["method", "outcome"])
CACHE_EVICTIONS = Counter("plinth_cache_evictions", "Answers that made room for newer ones.")
CACHE_ENTRIES = _gauge("plinth_cache_entries", "Answers in memory.")
CACHE_BYTES = _gauge("plinth_cache_bytes", "Memory of these answers.")

LIMITS = Counter(
    "plinth_limits",
    "Limits that calls were counted against: allowed, refused, unchecked (Redis away, let through), unavailable (Redis "
    "away, refused).",
    ["rate_class", "outcome"],
)
SHED = Counter("plinth_shed", "Calls refused because too many waited.")

EVENT_LAG_NAME = "plinth_event_lag_seconds"
EVENT_LAG = Gauge(
    EVENT_LAG_NAME,
    "How long the oldest entry of a log has been there that a reader has not come to.",
    ["reader"],
    multiprocess_mode="livemostrecent",
)

THREADS = _gauge("plinth_threads", "Threads for calls.", "pool")
THREADS_BUSY = _gauge("plinth_threads_busy", "Threads that serve a call.", "pool")
THREADS_QUEUED = _gauge("plinth_threads_queued", "Calls that wait for a thread.", "pool")
CONNECTIONS_LIMIT = _gauge("plinth_connections_limit", "Connections to PostgreSQL that there may be.", "pool")
CONNECTIONS = _gauge("plinth_connections", "Connections to PostgreSQL that there are.", "pool")
CONNECTIONS_USED = _gauge("plinth_connections_used", "Connections to PostgreSQL in use.", "pool")
CONNECTIONS_WAITING = _gauge("plinth_connections_waiting", "Callers that wait for a connection.", "pool")
DEPENDENCY_UP = _gauge("plinth_dependency_up", "Whether it answered when it was asked last.", "dependency")
DEPENDENCY_SECONDS = _gauge("plinth_dependency_seconds", "How long its last answer took.", "dependency")
LOOP_SUCCESS_NAME = "plinth_loop_success_time_seconds"
LOOP_SUCCESS = _gauge(
    LOOP_SUCCESS_NAME,
    "Unix time of the last round of a background thread or reader; 0 once it was asked to end.",
    "loop",
)
LOOP_LIMIT_NAME = "plinth_loop_limit_seconds"
LOOP_LIMIT = _gauge(LOOP_LIMIT_NAME, "Seconds after its last round from which it counts as late.", "loop")
REDIS_FAILURES = Counter(
    "plinth_redis_failures", "Times that Redis did not do what it was asked, by what for.", ["part"]
)
REDIS_FAILING = _gauge("plinth_redis_failing", "Whether Redis refused, or did not answer, when asked last.", "part")
CLOCK_SKEW = _gauge("plinth_clock_skew_seconds", "By how much the host's clock is ahead of PostgreSQL's.")
PROCESS_START = _gauge("plinth_process_start_time_seconds", "Unix time at which the process started.")
PROCESS_MEMORY = _gauge("plinth_process_resident_bytes", "Resident memory.")
PROCESS_CPU = Counter("plinth_process_cpu_seconds", "CPU time of user and system.", ["process"])


def method_label(method: MethodPolicy) -> str:
    """The label of an RPC: `plinth.sites.v1.PageService/GetPage`."""
    return method.path.removeprefix("/")


class Tally:
    """Durations of one kind, counted by bucket."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper bounds of the buckets, in seconds, ascending.

        Longer durations have a bucket of their own.
        """
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds


class CallTally:
    """The calls of one RPC."""

    def __init__(self, method: MethodPolicy) -> None:
        self.label = method_label(method)
        self.succeeded = Tally(CALLS)
        self.failed = Tally(CALLS)
        # All codes exist from the start, because adding a key takes several steps and is not atomic.
        self.codes = dict.fromkeys((code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK), 0)
        """Failures by status code."""

    def fail(self, code: str, seconds: float) -> None:
        """Count a call that ended with a status other than OK."""
        self.codes[code] += 1
        self.failed.note(seconds)


class QueryTally:
    """The round trips of one pool of connections (see server/data/observer.py)."""

    def __init__(self, pool: str) -> None:
        self.label = pool
        self.durations = Tally(QUERIES)
        self.failures = 0

    def round_trip(self, trip: RoundTrip) -> None:
        """Count a round trip."""
        self.durations.note(trip.seconds)
        if trip.error is not None:
            self.failures += 1
