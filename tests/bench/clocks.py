"""CPU time of processes that are not ours, and which core they run on."""

import os
import time
from collections.abc import Callable, Iterable

import psutil

Clock = Callable[[], float]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, user and system, with all its threads, those that ended included; 0 when it is gone."""
    try:
        # Linux's clock id for the CPU time of another process (CPUCLOCK_SCHED): in nanoseconds, where /proc has ticks.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def clock_of(pids: Iterable[int]) -> Clock:
    """Make a clock that adds up the CPU time of these processes."""
    fixed = tuple(pids)
    return lambda: sum(cpu_seconds(pid) for pid in fixed)


def clock_of_family(parent: int) -> Clock:
    """Make a clock for a process and its children, those that come and go included: PostgreSQL and its backends."""

    def read() -> float:
        process = psutil.Process(parent)
        reaped = process.cpu_times()
        living = sum(cpu_seconds(child.pid) for child in process.children())
        return cpu_seconds(parent) + living + float(reaped.children_user + reaped.children_system)

    return read


def pin(pid: int, where: set[int]) -> None:
    """Pin every thread of a process; threads it starts later are born where their parents are."""
    for thread in psutil.Process(pid).threads():
        try:
            os.sched_setaffinity(thread.id, where)
        except ProcessLookupError:
            continue


def _split() -> tuple[set[int], set[int]]:
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, set(usable[1:]) or {usable[0]}


SERVER_CORE, OTHER_CORES = _split()
"""The core of the server under test, and those of everything else; the same one on a machine with a single core."""
