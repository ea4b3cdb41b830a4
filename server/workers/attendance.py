"""Attendance: whether workers take the due jobs from the queues. Every process checks it for its health.

A check takes PostgreSQL less than 1 ms and the process 0.1 ms; with 20,000 due jobs and as many that wait for their
time, 2.5 ms (2 cores, with other load): due jobs have an index, and at most 1,000 of them are read.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import monotonic

import psycopg
from sqlalchemy import Integer, Text, bindparam, text

from server.data.connections import Result
from server.data.statements import Statement
from server.faults import Ailing
from server.workers.rescue import SILENCE

# Every process checks its health every second, but the queues only every INTERVAL seconds.
INTERVAL = 5.0
AT_ONCE = 1000

# A row per queue with due jobs; and one with an empty name, for the time since the last heartbeat of any worker.
DUE = Statement(
    text(
        """
        WITH due AS MATERIALIZED (
            SELECT queue_name, coalesce(scheduled_at, plinth_enqueue_time) AS time FROM procrastinate_jobs
             WHERE status = 'todo' AND coalesce(scheduled_at, '-infinity'::timestamptz) <= now()
             ORDER BY coalesce(scheduled_at, '-infinity'::timestamptz), id LIMIT :limit
        )
        SELECT queue_name::text AS queue, extract(epoch FROM now() - min(time))::integer AS seconds
          FROM due GROUP BY queue_name
        UNION ALL
        SELECT '', extract(epoch FROM now() - max(last_heartbeat))::integer FROM procrastinate_workers
        """
    )
    .bindparams(bindparam("limit", type_=Integer()))
    .columns(queue=Text(), seconds=Integer())
)

Run = Callable[..., Result]
"""Runs a statement with its parameters."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Seconds that the oldest due job has waited, by queue; and the queues from which no worker takes jobs."""

    queues: dict[str, float]
    unattended: frozenset[str]


class Attendance:
    """Checks the queues, in one process.

    Time counts from the first check, because jobs that waited during a complete outage are no finding.
    """

    def __init__(
        self, run: Run, patience: float, *, interval: float = INTERVAL, clock: Callable[[], float] = monotonic
    ) -> None:
        """A job may be due for `patience` seconds. Raises nothing. `clock` counts seconds."""
        self._run = run
        self._patience = patience
        self._interval = interval
        self._clock = clock
        # Set by the first check: the object may be made in a parent long before the fork.
        self._began = inf
        self._looked = -inf
        self._waiting = Waiting({}, frozenset())

    def ask(self) -> None:
        """Raise Ailing if a queue is unattended. A database that does not answer is reported by its own check."""
        if self._clock() - self._looked >= self._interval:
            with suppress(psycopg.OperationalError):
                self._waiting = self.look()
            self._looked = self._clock()
        if self._waiting.unattended:
            raise Ailing(f"nobody takes jobs from {', '.join(sorted(self._waiting.unattended))}")

    def look(self) -> Waiting:
        """The current state of the queues."""
        self._began = min(self._began, self._clock())
        found = {row["queue"]: row["seconds"] for row in self._run(DUE, limit=AT_ONCE).all()}
        silence = found.pop("", None)
        lived = self._clock() - self._began
        is_nobody_there = min(lived, inf if silence is None else silence) > SILENCE
        unattended = (
            queue for queue, seconds in found.items() if is_nobody_there or min(lived, seconds) > self._patience
        )
        return Waiting({queue: max(0.0, float(seconds)) for queue, seconds in found.items()}, frozenset(unattended))
