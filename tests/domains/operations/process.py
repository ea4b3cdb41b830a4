"""A worker in a process of its own, to be killed: `python -m tests.domains.operations.process <dsn> <queue> <folder>`.

Its work takes TOTAL batches, and waits before each one for as long as `<folder>/<number>` does not exist. SIGTERM ends
it as a deploy does.
"""

import asyncio
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server.kernel.operations import LongJob, Work
from server.kernel.record.logs import configure_logging
from server.workers.rescue import Rescue, stalled_after
from server.workers.supervision import run_until
from tests.domains.operations.scene import TASK, do
from tests.workers.machinery import PATIENCE, job_worker, own_database

TOTAL = 5


async def main(dsn: str, queue: str, folder: Path) -> None:
    """Work until killed."""

    def work(work: Work) -> dict[str, int]:
        first = int(str(work.saved.get("next", 0)))
        for number in range(first, TOTAL):
            while not (folder / str(number)).exists():
                work.check()
                time.sleep(0.02)
            do(work, number, TOTAL)
        return {"first": first, "attempt": work.attempt}

    is_resumable = not (folder / "once").exists()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with own_database(dsn) as database:
        job = LongJob(TASK, work, queue, resumable=is_resumable).job(database)
        rescue = Rescue(database, stalled_after(PATIENCE), ThreadPoolExecutor(1))
        await run_until(stopped, [job_worker(dsn, [job]), rescue], patience=PATIENCE)


if __name__ == "__main__":
    configure_logging("INFO")
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
