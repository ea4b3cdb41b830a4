"""`make soak n=2000000`: a bounded number of calls of every RPC, to find what crashes in C once in a million times.

The mix is made from the descriptors: both doors, streams, cancellations, deadlines and callers who hang up. Processes
run with the debug hooks of Python's memory allocator, so that an object that was let go of once too often shows near
to where that happened, and may leave core files. It tells how many calls there were, what they were answered, and
which processes died; its exit status is 1 if any did.
"""

import argparse
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.soak.calls import Caller
from tests.soak.deaths import deaths
from tests.stack import Stack

CALLS = 2_000_000
# A house is furnished anew, and everybody logs in again, after so many calls.
ROUND = 10_000
THREADS = 16
# Seconds between two words of how far it is.
NEXT_WORD = 30.0
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
# PYTHONMALLOC: each block has marks around it that are looked at when it is let go of, and is overwritten then.
HOOKS = {"PYTHONMALLOC": "debug", "PYTHONFAULTHANDLER": "1"}


def main() -> int:
    """Soak as long as was asked for."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="how many calls (make soak n=...)")
    parser.add_argument("--plain", action="store_true", help="without debug hooks: twice as fast, and it shows less")
    given = parser.parse_args()
    _allow_cores()
    if not given.plain:
        os.environ.update(HOOKS)
    stack = Stack(log_level="WARNING", api_workers=2)
    try:
        stack.start()
        codes = _soak(stack, given.calls)
        stack.stop()
        found = deaths(stack)
        _report(codes, found, stack)
    except BaseException:
        stack.stop()
        raise
    if found:
        _say(f"everything is kept in {stack.data_dir.parent}")
        return 1
    stack.remove()
    return 0


def _allow_cores() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    if CORE_PATTERN.exists():
        _say(f"core files: {CORE_PATTERN.read_text().strip()} (up to {most if most >= 0 else 'any number of'} bytes)")


def _soak(stack: Stack, calls: int) -> "Counter[str]":
    codes: Counter[str] = Counter()
    began = said = time.monotonic()
    for size in _rounds(calls):
        codes += Caller(stack, THREADS).run(size)
        if deaths(stack):
            # What there is to see of it is freshest now.
            return codes
        if time.monotonic() - said > NEXT_WORD:
            said = time.monotonic()
            _say(f"{codes.total()} calls, {codes.total() / (said - began):.0f} a second, {len(deaths(stack))} deaths")
    return codes


def _rounds(calls: int) -> Iterator[int]:
    for begun in range(0, calls, ROUND):
        yield min(ROUND, calls - begun)


def _report(codes: "Counter[str]", found: list[str], stack: Stack) -> None:
    _say(f"{codes.total()} calls")
    for code, number in codes.most_common():
        _say(f"  {number:>9} {code}")
    _say(f"{len(found)} deaths")
    for one in found:
        _say(f"  {one}")
    for path in sorted((stack.data_dir / "logs").glob("*.crash.log")):
        if text := path.read_text(errors="replace"):
            _say(f"{path.name}:\n{text}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
