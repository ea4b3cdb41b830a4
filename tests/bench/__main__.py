"""`make bench`: measures Plinth against its baselines and prints the ratios.

Needs h2load (package nghttp2-client) and the extra `bench` of pyproject.toml; `make bench` installs the latter.
"""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cases, gateway_cases, mixed_cases, report, stranger_cases, write_cases
from tests.bench.cases import Stage, make_stage
from tests.bench.clocks import OTHER_CORES
from tests.bench.engine import Result, run
from tests.bench.load import HOW_TO_INSTALL, WrongAnswerError, have_h2load
from tests.bench.profiling import NoProfilerError, profile

PROFILES = Path(".plinth/bench")
CASES = gateway_cases.CASES | stranger_cases.CASES | mixed_cases.CASES | write_cases.CASES | cases.CASES


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of a round, about."""
    rows: int
    note: str = ""


FULL = Extent(rounds=5, seconds=2.5, rows=1_000_000)
QUICK = Extent(rounds=2, seconds=0.8, rows=60_000, note="Quick: short rounds and 60,000 rows. Not for quoting.")


def main() -> int:
    """Measure what was asked for."""
    given = _parser().parse_args()
    if not have_h2load():
        sys.stderr.write(f"{HOW_TO_INSTALL}\n")
        return 1
    extent = QUICK if given.quick else FULL
    # What was started ends with this process, also when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Everything started from here on is born on these cores; only the servers under test are moved to theirs.
    os.sched_setaffinity(0, OTHER_CORES)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plinth-bench-")))
        stage = make_stage(stack, folder, extent.rows)
        if given.profile:
            _profile(given.profile, stage)
        else:
            results = [_measure(name, stage, extent, given.rounds) for name in CASES if name in (given.only or CASES)]
            _report(results, extent, given.json)
    return 0


def _measure(name: str, stage: Stage, extent: Extent, rounds: int | None) -> Result:
    sys.stderr.write(f"{name} ...")
    sys.stderr.flush()
    with ExitStack() as stack:
        result = run(CASES[name](stage, stack), rounds or extent.rounds, extent.seconds)
    sys.stderr.write(f" {result.ratio:.2f}\n")
    return result


def _report(results: list[Result], extent: Extent, file: Path | None) -> None:
    sys.stdout.write(f"\n{report.table(results, extent.note)}\n")
    if file is not None:
        report.save(results, file)


def _profile(name: str, stage: Stage) -> None:
    with ExitStack() as stack:
        files = profile(name, CASES[name](stage, stack).subject, PROFILES)
    sys.stdout.write("".join(f"{file}\n" for file in files))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough picture in a minute")
    parser.add_argument("--only", action="append", choices=CASES, help="a case; may be given several times")
    parser.add_argument("--rounds", type=int, help="rounds of each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--profile", choices=CASES, help=f"profile Plinth's side of a case instead, into {PROFILES}")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (WrongAnswerError, NoProfilerError) as fault:
        sys.exit(f"bench: {fault}")
