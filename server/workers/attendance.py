"""Attendance: whether somebody takes what is due in the queues. Asked by every process for its health.

A look takes PostgreSQL less than 1 ms and the process 0.1 ms; with 20,000 jobs that are due and as many that wait for
their time, 2.5 ms (2 cores, others at work): what is due has an index, and no more than 1,000 of it are looked at.
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

# Health is asked for every second in every process; the queues are looked at every so many seconds.
INTERVAL = 5.0
AT_ONCE = 1000

# A row per queue in which something is due, and with an empty name how long it is that any worker showed its heartbeat.
DUE = Statement(
    text(
        """
        WITH due AS MATERIALIZED (
            SELECT id, queue_name, scheduled_at FROM procrastinate_jobs
             WHERE status = 'todo' AND coalesce(scheduled_at, '-infinity'::timestamptz) <= now()
             ORDER BY coalesce(scheduled_at, '-infinity'::timestamptz), id LIMIT :limit
        ), oldest AS (
            SELECT queue_name, min(id) FILTER (WHERE scheduled_at IS NULL) AS first, min(scheduled_at) AS time
              FROM due GROUP BY queue_name
        )
        SELECT queue_name::text AS queue, extract(epoch FROM now() - least(
                   time, (SELECT min(e.at) FROM procrastinate_events e WHERE e.job_id = first)))::integer AS seconds
          FROM oldest
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
    """How long the oldest job that is due has waited, in seconds, by queue; and what nobody takes."""

    queues: dict[str, float]
    unattended: frozenset[str]


class Attendance:
    """Looks at the queues, from the side of one process.

    Time counts from when the process began to look: what waited while everything was down is no news.
    """

    def __init__(
        self, run: Run, patience: float, *, interval: float = INTERVAL, clock: Callable[[], float] = monotonic
    ) -> None:
        """A job may be due for `patience` seconds. Raises nothing; `clock` counts seconds."""
        self._run = run
        self._patience = patience
        self._interval = interval
        self._clock = clock
        # Not before it is asked: what is built is forked later, maybe hours later.
        self._began = inf
        self._looked = -inf
        self._waiting = Waiting({}, frozenset())

    def ask(self) -> None:
        """Raise Ailing when a queue is unattended. That the database is away is for its own check to say."""
        if self._clock() - self._looked >= self._interval:
            with suppress(psycopg.OperationalError):
                self._waiting = self.look()
            self._looked = self._clock()
        if self._waiting.unattended:
            raise Ailing(f"nobody takes jobs from {', '.join(sorted(self._waiting.unattended))}")

    def look(self) -> Waiting:
        """What waits just now."""
        self._began = min(self._began, self._clock())
        found = {row["queue"]: row["seconds"] for row in self._run(DUE, limit=AT_ONCE).all()}
        silence = found.pop("", None)
        lived = self._clock() - self._began
        is_nobody_there = min(lived, inf if silence is None else silence) > SILENCE
        unattended = (
            queue for queue, seconds in found.items() if is_nobody_there or min(lived, seconds) > self._patience
        )
        return Waiting({queue: max(0.0, float(seconds)) for queue, seconds in found.items()}, frozenset(unattended))
