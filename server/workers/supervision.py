"""Background services: work that a worker does all the time, each service kept running until the worker ends."""

import asyncio
import logging
import random
from collections.abc import Iterable

from server import pulses
from server.kernel.module import BackgroundService

log = logging.getLogger("plinth.worker")
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
# Seconds of running after which earlier failures no longer count.
STEADY = 60.0


async def run_until(stopped: asyncio.Event, services: Iterable[BackgroundService], *, patience: float) -> None:
    """Keep services running until the event. Then cancel them and wait, at most `patience` seconds."""
    tasks = [asyncio.create_task(supervise(service), name=type(service).__name__) for service in services]
    await stopped.wait()
    pulses.end_all()
    for task in tasks:
        task.cancel()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=patience)
        for task in late:
            log.error("%s did not end in time", task.get_name())


async def supervise(
    service: BackgroundService, *, first_pause: float = FIRST_PAUSE, longest_pause: float = LONGEST_PAUSE
) -> None:
    """Run a service repeatedly until cancelled, with pauses that double. Repeated failures are logged once."""
    failures, logged, loop = 0, "", asyncio.get_running_loop()
    while True:
        began = loop.time()
        problem: Exception | None = None
        try:
            await service.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the service is run again
            problem = error
        if loop.time() - began > STEADY:
            failures, logged = 0, ""
        failures += 1
        if logged != type(problem).__name__:
            logged = type(problem).__name__
            log.error("%s ended and is run again", type(service).__name__, exc_info=problem)
        pause = min(longest_pause, first_pause * 2.0 ** min(failures - 1, 64))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
