"""`make test-again`: runs the tests n times, and shows each failure with the logs of the stack that it met.

A test that fails once in twenty rounds is a fault, of the test or of what it tests.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = Path(".plinth/again")
LOGS = "TEST_LOGS"
"""Names the folder to which the shared stack's logs are copied before it is removed."""
# No round takes longer; what hangs is ended.
PATIENCE = 3600.0


def keep_logs(data_dir: Path) -> None:
    """Copy the logs of a stack, and what it printed, to where `make test-again` wants them."""
    # A stack that did not start has told why, and is gone.
    if LOGS in os.environ and data_dir.exists():
        folder = Path(os.environ[LOGS])
        shutil.copytree(data_dir / "logs", folder, dirs_exist_ok=True)
        shutil.copy(data_dir.parent / "output", folder)


def main() -> int:
    """Run the rounds; 1 if one failed."""
    given = _parser().parse_args()
    shutil.rmtree(KEPT, ignore_errors=True)
    with _busy(os.cpu_count() or 1 if given.busy else 0):
        passed = [_run(number, given.rounds, given.marker) for number in range(1, given.rounds + 1)]
    _say(f"{sum(passed)} of {given.rounds} rounds passed")
    return 0 if all(passed) else 1


def _run(number: int, rounds: int, marker: str) -> bool:
    """Run the tests once. What a round without a failure leaves is removed."""
    folder = KEPT / str(number)
    folder.mkdir(parents=True)
    began = time.monotonic()
    with (folder / "output").open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", marker],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, LOGS: str((folder / "logs").absolute())},
            timeout=PATIENCE,
            check=False,
        )
    text = (folder / "output").read_text()
    _say(f"round {number} of {rounds}: {text.strip().splitlines()[-1]} ({time.monotonic() - began:.0f} s)")
    if done.returncode == 0:
        shutil.rmtree(folder)
        return True
    told = [place for head in ("= ERRORS", "= FAILURES") if (place := text.find(head)) >= 0]
    _say(f"{text[min(told, default=0) :]}\nthe logs are in {folder}")
    return False


@contextmanager
def _busy(cores: int) -> Iterator[None]:
    """Keep this many cores busy."""
    spinners = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(cores)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()


def _spin() -> None:
    while True:
        pass


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.again", description=__doc__)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--busy", action="store_true", help="with a process beside it on every core that never waits")
    parser.add_argument("--marker", default="not heavy", help="which tests, as pytest -m has it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
