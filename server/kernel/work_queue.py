"""Work queues: what is due in a table is claimed, some at a time, and done on the event loop of a worker."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

import psycopg

from server.data.connections import DatabaseUnavailable

log = logging.getLogger("plinth.work")
# Seconds between two looks that found nothing, and after one that failed.
POLL = 1.0
RECONNECT = 2.0
T = TypeVar("T")


class WorkQueue(Generic[T]):
    """The queue of one kind of work."""

    def __init__(self, claim: Callable[[int], list[T]], threads: Executor, *, at_once: int, what: str) -> None:
        """`claim` takes how many may be claimed, and runs in one of the threads. `what` names the work in the log."""
        self._claim, self._threads, self._at_once, self._what = claim, threads, at_once, what

    async def run(self, do: Callable[[T], Awaitable[None]]) -> None:
        """Claim and do until cancelled. What is being done then is done to its end."""
        under_way: set[asyncio.Future[None]] = set()
        try:
            while True:
                for claimed in await self._next(self._at_once - len(under_way)):
                    task = asyncio.ensure_future(do(claimed))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    task.add_done_callback(self._note_fault)
                if under_way:
                    await asyncio.wait(under_way, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(POLL)
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _next(self, room: int) -> list[T]:
        if room < 1:
            return []
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._claim, room)
        except (psycopg.Error, DatabaseUnavailable) as error:
            log.warning("no %s can be claimed: %s", self._what, type(error).__name__)
            await asyncio.sleep(RECONNECT)
            return []

    def _note_fault(self, task: "asyncio.Future[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("one %s failed", self._what, exc_info=task.exception())
