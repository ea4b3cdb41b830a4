"""Hints of commits: the event log has grown, or jobs were enqueued.

Those who read them wait for hints, and also poll, because hints may get lost.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

log = logging.getLogger("plinth.hints")
PACE = 0.05
"""Seconds that a reader waits after it found events. It then reads all later events in one query."""
# Seconds until the source of hints is asked again after a failure.
RECONNECT = 0.5

Hints = Callable[[], AsyncIterator[None]]
"""Yields once per hint, until the source fails."""


class HintListener:
    """Receives hints for one reader."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._news = asyncio.Event()

    async def listen(self) -> None:
        """Receive hints until cancelled. The reader still polls while the source fails."""
        while True:
            try:
                async for _ in self._hints():
                    self._news.set()
            except Exception as error:  # noqa: BLE001 - the reader polls, whatever the failure is
                log.warning("no hints of commits: %s", error)
            await asyncio.sleep(RECONNECT)

    async def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for a hint. Returns whether one has arrived since the last wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        hinted = self._news.is_set()
        self._news.clear()
        return hinted
