"""The event loop on which a process talks to providers, in a thread of its own.

Calls run in threads, and wait there for their answers. Connections belong to a loop, so one loop keeps the pools of all
threads. It begins with the first request: most processes never make one.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
# Seconds that the thread has left to end.
PATIENCE = 2.0


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def close(self, *endings: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, run the endings, and end the thread. Does nothing if it has not begun."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            ended = asyncio.run_coroutine_threadsafe(_end(endings), loop)
            ended.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
            thread.join(PATIENCE)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="providers", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _end(endings: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for ending in endings:
        await ending()
