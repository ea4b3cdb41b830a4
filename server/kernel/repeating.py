"""Repeating: a background service that does one small thing every few seconds, such as to measure a queue."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

import psycopg

from server.data.connections import DatabaseUnavailable

log = logging.getLogger("plinth.repeating")


class Repeating:
    """One of them."""

    def __init__(self, work: Callable[[], None], threads: Executor, *, interval: float, what: str) -> None:
        """`work` runs in one of the threads; `interval` is seconds; `what` says in the log what cannot be done."""
        self._work, self._threads, self._interval, self._what = work, threads, interval, what

    async def run(self) -> None:
        """Repeat it until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._threads, self._work)
            except (psycopg.Error, DatabaseUnavailable) as error:
                log.warning("%s: %s", self._what, type(error).__name__)
            await asyncio.sleep(self._interval)
