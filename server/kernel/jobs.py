"""Jobs: background work, and schedules that repeat it.

A job is enqueued in the transaction of the change that makes it necessary (`Call.enqueue`), by its queue and its name,
with arguments that JSON can carry. The arguments of a tenant's job include `tenant_id`. A job runs at least once: when
a worker dies, another one starts its job again, so a job must be idempotent.
"""

import inspect
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from server.json_values import JsonValue

Chance = Callable[[], float]
"""A random number from 0 to 1."""

DEFAULT_QUEUE = "default"
MAINTENANCE_QUEUE = "maintenance"


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a job is attempted, and the pauses in between. They double; each is randomly cut by up to half."""

    attempts: int = 8
    first_pause: float = 5.0
    """Seconds."""
    longest_pause: float = 3600.0
    """Seconds."""

    def pause(self, failures: int, chance: Chance = random.random) -> float | None:
        """Seconds until the next attempt after `failures` failed ones; None after the last one."""
        if failures >= self.attempts:
            return None
        # The exponent is bounded, because floats are.
        ceiling = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, 64))
        return ceiling * (1 - chance() / 2)


NEVER_AGAIN = Retry(attempts=1)
"""For jobs that a schedule soon runs again anyway."""


@dataclass(frozen=True, slots=True)
class Job:
    """Background work. Its constructor gets whatever it needs beside its arguments."""

    name: str
    """`<domain>.<verb>_<what>`. Must not change while jobs of that name may be queued."""
    run: Callable[..., Awaitable[None] | None]
    """Takes the arguments by name. A plain function runs in a thread; on timeout it is abandoned, not ended."""
    queue: str = DEFAULT_QUEUE
    retry: Retry = Retry()
    timeout: float = 300.0
    """Seconds that one attempt may take."""

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.run) or inspect.iscoroutinefunction(type(self.run).__call__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job repeats: once at each time, on any number of workers, and never in parallel.

    A time that was missed while no worker ran is made up for once at start-up, if it is less than a day ago. A run that
    failed and waits for its next attempt delays the runs after it, so frequent jobs are not retried (NEVER_AGAIN).
    """

    cron: str
    """Minute, hour, day of the month, month, day of the week, in UTC. An optional sixth field holds seconds."""
    job: Job
    name: str = ""
    """Distinguishes several schedules of one job."""
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
