"""Running workers of our own, and looking at their queues in the stack's database."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from psycopg.types.json import Jsonb

from server.kernel.module import BackgroundService
from server.workers.supervision import run_until
from tests.clients import database, rows
from tests.stack import PATIENCE as LONG
from tests.stack import Stack
from tests.workers.machinery import PATIENCE


@contextmanager
def running(*services: BackgroundService) -> Iterator[None]:
    """Services run while the block does, each on a loop of its own; then they are stopped, and have ended."""
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Semaphore(0)

    async def serve(service: BackgroundService) -> None:
        stopped = asyncio.Event()
        started.append((asyncio.get_running_loop(), stopped))
        ready.release()
        await run_until(stopped, [service], patience=PATIENCE + 1)

    threads = [threading.Thread(target=lambda one=one: asyncio.run(serve(one)), daemon=True) for one in services]
    for thread in threads:
        thread.start()
        assert ready.acquire(timeout=LONG)
    try:
        yield
    finally:
        for loop, stopped in started:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stopped.set)
        for thread in threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in threads)


def enqueue(stack: Stack, queue: str, task: str, lock: str | None = None, **arguments: Any) -> int:
    """The id of a new job. Those of schedules have a lock."""
    found = rows(
        stack,
        "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY["
        "ROW(%s, %s, 0, %s, NULL, %s, NULL)::procrastinate_job_to_defer_v1])) AS id",
        queue,
        task,
        lock,
        Jsonb(arguments),
    )
    return int(found[0]["id"])


def queued(stack: Stack, queue: str) -> list[dict[str, Any]]:
    """What is in a queue, whatever its state, the oldest first."""
    return rows(stack, "SELECT * FROM procrastinate_jobs WHERE queue_name = %s ORDER BY id", queue)


def empty(stack: Stack, queue: str) -> None:
    """Remove what is in a queue."""
    with database(stack) as connection:
        connection.execute("DELETE FROM procrastinate_jobs WHERE queue_name = %s", (queue,))


def lose_worker_of(stack: Stack, queue: str) -> None:
    """Let it seem long ago that the workers of these jobs have shown their heartbeat."""
    found = rows(
        stack,
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour' WHERE id IN "
        "(SELECT worker_id FROM procrastinate_jobs WHERE queue_name = %s AND status = 'doing') RETURNING id",
        queue,
    )
    assert found
