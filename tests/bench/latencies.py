"""How long calls of several kinds take: of one caller, then of eight at once. No call is made twice."""

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

CALLERS = 8
CALLS = 1_000
"""Of each kind and number of callers."""
WARM = 20
SLOWEST = 0.05
"""Seconds that 95 % of the calls of one caller may take."""
LINE = "{:<34} p50 {:6.1f} ms   p95 {:6.1f} ms   at {} at once: p50 {:6.1f} ms   p95 {:6.1f} ms\n"
Call = Callable[[], object]


def measure(kinds: Mapping[str, Call], calls: int = CALLS) -> bool:
    """Print what each kind takes. Whether 95 % of the calls of one caller were fast enough, of every kind."""
    met = True
    for name, call in kinds.items():
        for _ in range(WARM):
            call()
        alone, together = seconds_of(call, 1, calls), seconds_of(call, CALLERS, calls)
        middle, late = calls // 2, calls * 95 // 100
        times = [alone[middle], alone[late], together[middle], together[late]]
        milliseconds = [seconds * 1e3 for seconds in times]
        sys.stdout.write(LINE.format(name, *milliseconds[:2], CALLERS, *milliseconds[2:]))
        sys.stdout.flush()
        met = met and alone[late] <= SLOWEST
    return met


def seconds_of(call: Call, callers: int, calls: int) -> list[float]:
    """What the calls took, the shortest first."""

    def timed(_: int) -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    with ThreadPoolExecutor(callers) as pool:
        return sorted(pool.map(timed, range(calls)))
