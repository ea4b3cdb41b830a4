"""A worker in a process of its own, to be killed: `python -m tests.workers.process <dsn> <queue> <folder>`.

Its job writes a line to `<folder>/journal` when it begins, waits for as long as `<folder>/hold` exists, and writes
another one when it ends.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server.kernel.jobs import Job
from server.kernel.record.logs import configure_logging
from server.workers.rescue import Rescue, stalled_after
from server.workers.supervision import run_until
from tests.workers.machinery import PATIENCE, job_worker, own_database

TASK = "test.journal"


async def main(dsn: str, queue: str, folder: Path) -> None:
    """Work until killed."""

    def write(what: str, key: str) -> None:
        with (folder / "journal").open("a") as journal:
            journal.write(f"{what} {key} {os.getpid()}\n")

    async def note(key: str) -> None:
        write("begins", key)
        while (folder / "hold").exists():  # noqa: ASYNC110 - it is another process that lets go
            await asyncio.sleep(0.02)
        write("ends", key)

    with own_database(dsn) as database:
        rescue = Rescue(database, stalled_after(PATIENCE), ThreadPoolExecutor(1))
        await run_until(asyncio.Event(), [job_worker(dsn, [Job(TASK, note, queue)]), rescue], patience=PATIENCE)


if __name__ == "__main__":
    configure_logging("INFO")
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
