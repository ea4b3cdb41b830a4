"""Maintenance: expired rows are removed in short batches; partitions are made and dropped.

Each table has a job of its own, so that one that fails does not hold up the others.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import ColumnElement, DateTime, Integer, Table, Text, bindparam, delete, select, text, tuple_

from server.data import partitions
from server.data.events import events
from server.data.idempotency import idempotency_records
from server.data.moves import moves
from server.data.statements import Statement
from server.data.tables import deletable
from server.data.transactions import Database, Scope
from server.kernel.clock import Clock, utc_now
from server.kernel.jobs import MAINTENANCE_QUEUE, Job, Schedule
from server.kernel.module import DropPartitions, Expire, kept_for
from server.settings import Settings

log = logging.getLogger("plinth.maintenance")
ROWS_AT_ONCE = 5000
# Retention of failed jobs, with the cause of the failure.
FAILED_JOBS_KEPT = timedelta(days=30)
SETTLED_MOVES_KEPT = timedelta(days=90)
# Purges start at these minutes of the hour, five minutes apart; further ones share them.
FIRST_MINUTE, MINUTES_BETWEEN, SLOTS = 7, 5, 10
# Statements queue behind the lock that drops a partition. It therefore waits briefly, and is retried later.
HASTE = Statement(text("SELECT set_config('lock_timeout', '2s', true) AS timeout"))

_limit = bindparam("limit", type_=Integer())
# Jobs that succeeded are deleted at once.
OLD_JOBS = Statement(
    text(
        """
        DELETE FROM procrastinate_jobs WHERE id IN (
            SELECT id FROM procrastinate_jobs
             WHERE plinth_end_time < :before ORDER BY plinth_end_time LIMIT :limit
        )
        """
    ).bindparams(bindparam("before", type_=DateTime(timezone=True)), _limit)
)


def _batch(table: Table, by: str) -> Statement:
    """Deletes up to `limit` rows whose time in a column is before `before`, by the index that the column leads."""
    moment = table.c[by]
    key = tuple(table.primary_key)
    is_over: ColumnElement[bool] = moment < bindparam("before", type_=moment.type)
    chosen = select(*key).where(is_over).order_by(moment).limit(_limit)
    # Repeated outside, because a row may have changed in the meantime.
    return Statement(delete(table).where(tuple_(*key).in_(chosen)).where(is_over))


@dataclass(frozen=True, slots=True)
class _Purge:
    """The rows of one table to remove."""

    table: str
    statement: Statement
    after: timedelta
    database: Database
    by_day: bool = False
    """Whether the column holds days as text."""


class Maintenance:
    """The jobs of maintenance."""

    def __init__(
        self,
        database: Database,
        dispatch: Database,
        settings: Settings,
        tables: Iterable[Table],
        retention: Sequence[Expire | DropPartitions],
        *,
        queue: str = MAINTENANCE_QUEUE,
        clock: Clock = utc_now,
    ) -> None:
        """`dispatch` is the database as the role for work across tenants; `retention` is declared by the domains."""
        self._database = database
        self._queue = queue
        self._clock = clock
        self._dropped = {
            str(table.table.name): kept_for(table.after, settings)
            for table in (DropPartitions(table=events, after=_events_kept), *retention)
            if isinstance(table, DropPartitions)
        }
        expiring = (
            Expire(table=idempotency_records, by="expire_time"),
            Expire(table=moves, by="settle_time", after=SETTLED_MOVES_KEPT, every_tenant=True),
            *retention,
        )
        self._expiring = [
            _Purge(
                each.table.name,
                _batch(each.table, each.by),
                kept_for(each.after, settings),
                dispatch if each.every_tenant else database,
                isinstance(each.table.c[each.by].type, Text),
            )
            for each in expiring
            if isinstance(each, Expire)
        ]
        deleted = timedelta(days=settings.deleted_retention_days)
        self._deleted = [
            _Purge(table.name, _batch(table, "delete_time"), deleted, dispatch) for table in deletable(tables)
        ]

    def schedules(self) -> list[Schedule]:
        """All schedules, spread over the hour and the night."""
        hourly = [
            *(
                Job(f"maintenance.purge_{each.table}", partial(self._drain, each), self._queue)
                for each in self._expiring
            ),
            Job("maintenance.purge_deleted_rows", self.purge_deleted_rows, self._queue),
            Job("maintenance.purge_jobs", self.purge_jobs, self._queue),
        ]
        return [
            *(Schedule(f"{_minute(place)} * * * *", job) for place, job in enumerate(hourly)),
            Schedule("5 1 * * *", Job("maintenance.make_partitions", self.make_partitions, self._queue)),
            Schedule("35 1 * * *", Job("maintenance.drop_partitions", self.drop_partitions, self._queue)),
        ]

    def purge_deleted_rows(self) -> None:
        """Remove deleted rows of all tenants that can no longer be restored."""
        for each in self._deleted:
            self._drain(each)

    def purge_jobs(self) -> None:
        """Remove jobs that failed long ago."""
        self._drain(_Purge("procrastinate_jobs", OLD_JOBS, FAILED_JOBS_KEPT, self._database))

    def make_partitions(self) -> None:
        """Make the partitions of the months to come."""
        with self._database.write(Scope()) as transaction:
            transaction.run(partitions.MAKE, months=partitions.MONTHS_AHEAD)

    def drop_partitions(self) -> None:
        """Drop the partitions whose retention has ended."""
        for table, kept in self._dropped.items():
            with self._database.write(Scope()) as transaction:
                transaction.queue(HASTE)
                dropped = transaction.run(partitions.DROP, table=table, before=self._clock() - kept).value()
            if dropped:
                log.info("dropped %d partitions of %s", dropped, table)

    def _drain(self, purge: _Purge) -> None:
        """Repeat a deletion until no row is left for it, each batch in a transaction of its own."""
        moment = self._clock() - purge.after
        before = moment.date().isoformat() if purge.by_day else moment
        count = ROWS_AT_ONCE
        while count == ROWS_AT_ONCE:
            with purge.database.write(Scope(platform=True)) as transaction:
                count = transaction.run(purge.statement, limit=ROWS_AT_ONCE, before=before).count


def _events_kept(settings: Settings) -> timedelta:
    return timedelta(days=settings.events_retention_days)


def _minute(place: int) -> int:
    return FIRST_MINUTE + place % SLOTS * MINUTES_BETWEEN
