"""Repeating: what a background service does every few seconds, such as to measure a queue."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor

from server import pulses

LATE = 5.0


async def repeat(name: str, action: Callable[[], None], interval: float, threads: Executor) -> None:
    """Run a blocking function in a thread, every `interval` seconds until cancelled. Raises what it raises.

    Health uses `name` when it has not run for too long.
    """
    loop = asyncio.get_running_loop()
    pulse = pulses.begin(name, 2 * interval + LATE)
    while True:
        await loop.run_in_executor(threads, action)
        pulse.beat()
        await asyncio.sleep(interval * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
