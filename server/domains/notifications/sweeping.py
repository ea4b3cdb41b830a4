"""Sweeping: what has expired or is old leaves the inbox, and its counts."""

from datetime import datetime, timedelta

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.notifications.counts import ARCHIVE_EXPIRED, ARCHIVE_OLD, AT_ONCE
from server.kernel.clock import Clock
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule

EVERY_MINUTE, EVERY_NIGHT = "* * * * *", "37 2 * * *"
KEPT_IN_INBOX = timedelta(days=90)
MOST_BATCHES = 200


class Sweeper:
    """Archives them, of all tenants."""

    def __init__(self, dispatch: Database, clock: Clock) -> None:
        self._dispatch, self._clock = dispatch, clock

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """When it does what."""
        expired = Job("notifications.archive_expired", self.archive_expired, MAINTENANCE_QUEUE, retry=NEVER_AGAIN)
        old = Job("notifications.archive_old", self.archive_old, MAINTENANCE_QUEUE)
        return Schedule(EVERY_MINUTE, expired), Schedule(EVERY_NIGHT, old)

    def archive_expired(self) -> None:
        """What is no longer worth telling."""
        self._run(ARCHIVE_EXPIRED, self._clock())

    def archive_old(self) -> None:
        """What came long ago."""
        self._run(ARCHIVE_OLD, self._clock() - KEPT_IN_INBOX)

    def _run(self, statement: Statement, before: datetime) -> None:
        for _ in range(MOST_BATCHES):
            with self._dispatch.write(Scope()) as transaction:
                if transaction.run(statement, before=before).value() < AT_ONCE:
                    return
