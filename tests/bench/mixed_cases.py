"""What a reader waits while others write."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from tests.bench.cases import Setting, Stage
from tests.bench.clocks import clock_of
from tests.bench.engine import Case, Goal, Side, latencies
from tests.bench.load import PATIENCE
from tests.bench.readers import reading
from tests.bench.subject import UNCACHED

WRITES = 200
"""Pages that are created per second."""
CALLS = 1_000
IN_FLIGHT = 8
_runs = itertools.count()


def read_beside_writes(stage: Stage, stack: ExitStack) -> Case:
    """The p99 of GetPage while pages are created, against that without."""
    del stack
    setting = stage(UNCACHED)
    clocks = {"server": clock_of([setting.subject.api])}
    return Case(
        name="read-beside-writes",
        title=f"GetPage, REST, p99 with {WRITES} CreatePage per second / without",
        goal=Goal(1.3, at_least=False),
        subject=Side(name="with", load=reading(setting, lambda: _writing(setting)), clocks=clocks),
        baseline=Side(name="without", load=reading(setting, nullcontext), clocks=clocks),
        ratio=latencies,
        calls=CALLS,
    )


CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {"read-beside-writes": read_beside_writes}


@contextmanager
def _writing(setting: Setting) -> Iterator[None]:
    """Create pages meanwhile. Raises RuntimeError if that ended too early: fewer were created than should have been."""
    count = int(WRITES * PATIENCE)
    arguments = [setting.subject.port, setting.pages_path, count, IN_FLIGHT, f"beside-{os.getpid()}-{next(_runs)}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.writer", *map(str, arguments), f"--per-second={WRITES}"],
        env={**os.environ, "BENCH_TOKEN": setting.subject.token},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError("the writer ended too early")
    finally:
        process.kill()
        process.wait()
