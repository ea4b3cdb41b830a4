"""Whether live streams are served: some realtime process has a session in which it reads the log of this database.

That is found out from anywhere, since PostgreSQL shows the programs of all sessions to every role. Whether a process of
this host has fallen silent is told by its pulses.
"""

from collections.abc import Callable
from math import inf
from time import monotonic

import psycopg
from sqlalchemy import Integer, bindparam, text

from server.data.statements import Statement
from server.faults import Ailing
from server.kernel.live.event_log import PROGRAM
from server.pulses import Told
from server.workers.attendance import Run

INTERVAL = 5.0
# Seconds for which no session may be there: after a restart, or while the database was away.
PATIENCE = 15.0
REALTIME = " of realtime-"
READERS = Statement(
    text(
        "SELECT count(*)::integer AS readers FROM pg_stat_activity"
        " WHERE application_name = :program AND datname = current_database()"
    )
    .bindparams(bindparam("program"))
    .columns(readers=Integer())
)
"""Takes `program`."""


class StreamAttendance:
    """Looks after the streams, in one process."""

    def __init__(
        self,
        run: Run,
        told: Told,
        *,
        patience: float = PATIENCE,
        interval: float = INTERVAL,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`told` has the pulses of this host. `clock` counts seconds."""
        self._run = run
        self._told = told
        self._patience = patience
        self._interval = interval
        self._clock = clock
        self._looked = -inf
        # When a session was there last; the first look counts as one, because the others may still be starting.
        self._seen = -inf
        self._late: list[str] = []

    def ask(self) -> None:
        """Raise Ailing if no stream is served. A database that does not answer is reported by its own check."""
        now = self._clock()
        if now - self._looked >= self._interval:
            self._look(now)
            self._looked = now
        if self._late:
            raise Ailing(f"has stopped, or waits in vain: {', '.join(self._late)}")
        if now - self._seen > self._patience:
            raise Ailing("no process serves live streams")

    def _look(self, now: float) -> None:
        self._late = sorted(
            name for name, silence, limit in self._told() if REALTIME in name and limit and silence > limit
        )
        if self._seen == -inf or self._is_somebody_there():
            self._seen = now

    def _is_somebody_there(self) -> bool:
        try:
            return bool(self._run(READERS, program=PROGRAM).row(0)["readers"])
        except psycopg.OperationalError:
            # Nobody knows. Once the database is back, the others may take a while as well.
            return True
