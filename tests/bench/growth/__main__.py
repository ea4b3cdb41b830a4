"""`make bench-growth`: stamps out services, starts stacks of 13, 50 and 100 of them, and tells what grows how.

Needs h2load (package nghttp2-client). Exits with 1 when something grows faster than the number of services, or when a
call costs more among many services than among few.
"""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from server.app import SERVICES
from tests.bench.growth import verdict
from tests.bench.growth.measuring import measure
from tests.bench.load import HOW_TO_INSTALL, have_h2load

SIZES = (13, 50, 100)
NOTES = """\
start: `plinth up` on a data folder that is there, with bytecode; the first one makes the database too.
MiB: proportional set sizes of an idle stack with 2 api workers. While other stacks run on the machine they are lower,
since these share the files of programs; `in all but files` is not.
us: the least CPU time per GetPage of any round: of the api worker over gRPC, and of Envoy over REST. All sizes run at
once and take turns.
linear: no later stretch is more than 1.3 times as steep as the first. level: at most 1.15 times the first value."""


def main() -> int:
    """Measure each size."""
    given = _parser().parse_args()
    if not have_h2load():
        sys.stderr.write(f"{HOW_TO_INSTALL.replace('make bench', 'make bench-growth')}\n")
        return 1
    # What was started ends with this process, also when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    today = len(SERVICES)
    measured = measure(sorted({max(size, today) for size in given.sizes}), today)
    sys.stdout.write(f"\n{verdict.table(measured)}\n\n{NOTES}\n")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(each) for each in measured], indent=2) + "\n")
    return 1 if verdict.faults(measured) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of services; two at least")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
