"""Workers of our own, on queues that nobody else attends to. Imports little: a process of a test starts with it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from server.data.connections import Connections
from server.data.transactions import Database
from server.kernel.jobs import Job, Schedule
from server.workers.job_worker import JobWorker

PATIENCE = 5.0


async def no_hints() -> AsyncIterator[None]:
    """A source of hints that never has one."""
    await asyncio.Event().wait()
    yield None


def job_worker(dsn: str, jobs: Sequence[Job], schedules: Sequence[Schedule] = (), **options: Any) -> JobWorker:
    """One that does these jobs, two at once."""
    given: dict[str, Any] = {
        "hints": no_hints,
        "slots": 2,
        "threads": ThreadPoolExecutor(2),
        "patience": PATIENCE,
        "statement_timeout": 30.0,
        "name": "test",
        **options,
    }
    return JobWorker(dsn, jobs, schedules, **given)


@contextmanager
def own_database(dsn: str) -> Iterator[Database]:
    """The database of a dsn, as a worker's jobs have it."""
    pool = Connections(dsn, size=2, wait=20.0, statement_timeout=30.0, name="worker test")
    pool.open()
    try:
        yield Database(pool)
    finally:
        pool.close()
