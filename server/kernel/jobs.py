"""Jobs: work that is done in the background, and schedules by which it is done again and again.

A job is enqueued in the transaction of the change that makes it necessary (`Call.enqueue`), by the name of its queue
and its own, with arguments that JSON can carry; those of a tenant's job have `tenant_id` among them. It is done at
least once: a worker that dies has another one begin anew, so doing it twice must do no harm.
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
    """How often a job is tried, and when again: after pauses that double, each shortened by up to half at random."""

    attempts: int = 8
    first_pause: float = 5.0
    """Seconds."""
    longest_pause: float = 3600.0
    """Seconds."""

    def pause(self, failures: int, chance: Chance = random.random) -> float | None:
        """Seconds until the next attempt after so many failed ones; None when it was the last one."""
        if failures >= self.attempts:
            return None
        # The exponent is bounded, for a float is.
        ceiling = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, 64))
        return ceiling * (1 - chance() / 2)


NEVER_AGAIN = Retry(attempts=1)
"""For what a schedule does soon again anyway."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done in the background. It has by construction whatever it needs beside its arguments."""

    name: str
    """`<domain>.<verb>_<what>`; stays the same for as long as jobs of that name may be queued."""
    run: Callable[..., Awaitable[None] | None]
    """Takes the arguments by name. A plain function runs in a thread; it is not ended by the timeout, only given up."""
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
    """When a job is done again and again: once at each moment, however many workers there are, and never in parallel.

    What was missed while no worker ran is done once when one starts, if it is not older than a day. A run that failed
    and waits for its next attempt holds up those after it, so what is done often has no further attempts (NEVER_AGAIN).
    """

    cron: str
    """Minute, hour, day of the month, month, day of the week, in UTC; a sixth field, if there is one, has seconds."""
    job: Job
    name: str = ""
    """Tells schedules of one job apart."""
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
