"""Maintenance: what is over is removed, in batches that each take a moment; and partitions come and go.

Each topic is a job of its own, so that one that fails holds up no other.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import ColumnElement, DateTime, Integer, Table, bindparam, delete, select, text, tuple_

from server.data import partitions
from server.data.connections import DatabaseUnavailable
from server.data.idempotency import idempotency_records
from server.data.jobs import DEFER
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.identity.sign_in_guard import IS_FORGOTTEN
from server.domains.identity.tables import api_key_usage, sessions, sign_in_networks
from server.domains.operations.tables import ip_blocks
from server.domains.tenancy.tables import tenants
from server.domains.webhooks.tables import webhook_deliveries
from server.kernel.clock import Clock, utc_now
from server.kernel.jobs import MAINTENANCE_QUEUE, Job, Schedule

log = logging.getLogger("plinth.maintenance")
ROWS_AT_ONCE = 5000
TENANTS_AT_ONCE = 500
# How long it can be seen that an address was blocked, how often an API key was used, and why a job failed.
BLOCKS_KEPT = timedelta(days=30)
USAGE_KEPT = timedelta(days=92)
FAILED_JOBS_KEPT = timedelta(days=30)
NIL = "00000000-0000-0000-0000-000000000000"
PURGE_DELETED = "maintenance.purge_deleted_rows"
# What dropping a partition locks out waits behind it; rather than waiting long, it is tried again later.
HASTE = Statement(text("SELECT set_config('lock_timeout', '2s', true) AS timeout"))

_TIME = DateTime(timezone=True)
_before = bindparam("before", type_=_TIME)
_limit = bindparam("limit", type_=Integer())


def _batch(table: Table, over: ColumnElement[bool], *order: ColumnElement[Any]) -> Statement:
    """Deletes up to `limit` rows that are over, found by an index that begins with `order`."""
    key = tuple(table.primary_key)
    chosen = select(*key).where(over).order_by(*order).limit(_limit)
    # What was changed meanwhile is looked at again, so the condition stands outside as well.
    return Statement(delete(table).where(tuple_(*key).in_(chosen)).where(over))


def _purges(tables: Iterable[Table]) -> list[Statement]:
    """One deletion per table whose rows can be brought back."""
    return [
        _batch(
            table,
            (table.c.tenant_id == bindparam("tenant", type_=table.c.tenant_id.type)) & (table.c.delete_time < _before),
        )
        for table in tables
        if "delete_time" in table.c and "tenant_id" in table.c
    ]


OLD_SESSIONS = _batch(sessions, sessions.c.expire_time < _before, sessions.c.expire_time)
OLD_NETWORKS = _batch(sign_in_networks, IS_FORGOTTEN, sign_in_networks.c.last_time)
OLD_RECORDS = _batch(
    idempotency_records, idempotency_records.c.expire_time < _before, idempotency_records.c.expire_time
)
OLD_BLOCKS = _batch(ip_blocks, ip_blocks.c.expire_time < _before, ip_blocks.c.expire_time)
OLD_USAGE = _batch(api_key_usage, api_key_usage.c.day < bindparam("day", type_=api_key_usage.c.day.type))
OLD_DELIVERIES = _batch(
    webhook_deliveries, webhook_deliveries.c.create_time < _before, webhook_deliveries.c.create_time
)
NEXT_TENANTS = Statement(
    select(tenants.c.id)
    .where(tenants.c.id > bindparam("after", type_=tenants.c.id.type))
    .order_by(tenants.c.id)
    .limit(_limit)
)
OLD_TENANTS = Statement(
    select(tenants.c.id).where(tenants.c.delete_time < _before).order_by(tenants.c.id).limit(_limit)
)
DROP_TENANT = Statement(
    delete(tenants)
    .where(tenants.c.id == bindparam("tenant", type_=tenants.c.id.type))
    .where(tenants.c.delete_time < _before)
)
# The events of a job go with it; done ones are deleted at once.
OLD_JOBS = Statement(
    text(
        """
        DELETE FROM procrastinate_jobs WHERE id IN (
            SELECT j.id FROM procrastinate_jobs j
             WHERE j.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
               AND NOT EXISTS (SELECT FROM procrastinate_events e WHERE e.job_id = j.id AND e.at >= :before)
             ORDER BY j.queue_name, j.id LIMIT :limit
        )
        """
    ).bindparams(_before, _limit)
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept."""

    deleted: timedelta
    events: timedelta
    audit: timedelta
    webhooks: timedelta


class Unfinished(Exception):
    """Something could not be removed; everything else was."""


class Maintenance:
    """The jobs of maintenance."""

    def __init__(
        self,
        database: Database,
        dispatch: Database,
        tables: Iterable[Table],
        retention: Retention,
        *,
        queue: str = MAINTENANCE_QUEUE,
        clock: Clock = utc_now,
    ) -> None:
        """`dispatch` is the database as the role that sees every tenant's deliveries; `tables` are all there are."""
        self._database = database
        self._dispatch = dispatch
        self._purges = _purges(tables)
        self._retention = retention
        self._queue = queue
        self._clock = clock

    def schedules(self) -> list[Schedule]:
        """All of it, spread over the hour and the night."""
        return [
            Schedule("7 * * * *", Job("maintenance.purge_sessions", self.purge_sessions, self._queue)),
            Schedule("12 * * * *", Job("maintenance.purge_idempotency_records", self.purge_records, self._queue)),
            Schedule("17 * * * *", Job("maintenance.purge_ip_blocks", self.purge_blocks, self._queue)),
            Schedule("22 * * * *", Job("maintenance.purge_api_key_usage", self.purge_usage, self._queue)),
            Schedule("27 * * * *", Job(PURGE_DELETED, self.purge_deleted_rows, self._queue)),
            Schedule("32 * * * *", Job("maintenance.purge_tenants", self.purge_tenants, self._queue)),
            Schedule("37 * * * *", Job("maintenance.purge_webhook_deliveries", self.purge_deliveries, self._queue)),
            Schedule("42 * * * *", Job("maintenance.purge_jobs", self.purge_jobs, self._queue)),
            Schedule("5 1 * * *", Job("maintenance.make_partitions", self.make_partitions, self._queue)),
            Schedule("35 1 * * *", Job("maintenance.drop_partitions", self.drop_partitions, self._queue)),
        ]

    def purge_sessions(self) -> None:
        """Remove expired sessions, and from where users signed in long ago."""
        self._drain(OLD_SESSIONS, before=self._clock())
        self._drain(OLD_NETWORKS)

    def purge_records(self) -> None:
        """Remove what is kept to answer repeated calls alike, once it has expired."""
        self._drain(OLD_RECORDS, before=self._clock())

    def purge_blocks(self) -> None:
        """Remove blocks of addresses some time after they ended."""
        self._drain(OLD_BLOCKS, before=self._clock() - BLOCKS_KEPT)

    def purge_usage(self) -> None:
        """Remove old counts of calls with API keys."""
        self._drain(OLD_USAGE, day=(self._clock() - USAGE_KEPT).date().isoformat())

    def purge_deliveries(self) -> None:
        """Remove old deliveries of webhooks."""
        self._drain(OLD_DELIVERIES, self._dispatch, before=self._clock() - self._retention.webhooks)

    def purge_jobs(self) -> None:
        """Remove jobs that failed long ago."""
        self._drain(OLD_JOBS, before=self._clock() - FAILED_JOBS_KEPT)

    def purge_deleted_rows(self, after: str = NIL) -> None:
        """Remove what was deleted too long ago to be brought back, in the next tenants after that one.

        Those that follow are a job of their own. Raises Unfinished when it failed in some tenant.
        """
        before = self._clock() - self._retention.deleted
        with self._database.write(Scope(platform=True)) as transaction:
            found = [row["id"] for row in transaction.run(NEXT_TENANTS, after=after, limit=TENANTS_AT_ONCE).all()]
            if len(found) == TENANTS_AT_ONCE:
                transaction.queue(DEFER, queue=self._queue, task=PURGE_DELETED, arguments={"after": found[-1]})
        failed = [tenant for tenant in found if not self._try(self._purge, tenant, before)]
        _complain("purging", failed)

    def purge_tenants(self) -> None:
        """Remove tenants, with everything under them, that were deleted too long ago to be brought back.

        Raises Unfinished when one could not be removed.
        """
        before = self._clock() - self._retention.deleted
        with self._database.write(Scope(platform=True)) as transaction:
            found = transaction.run(OLD_TENANTS, before=before, limit=TENANTS_AT_ONCE).all()
        failed = [row["id"] for row in found if not self._try(self._drop, row["id"], before)]
        _complain("removing", failed)

    def make_partitions(self) -> None:
        """Make the partitions of the months to come."""
        with self._database.write(Scope()) as transaction:
            transaction.run(partitions.MAKE, months=partitions.MONTHS_AHEAD)

    def drop_partitions(self) -> None:
        """Drop the partitions whose time is over."""
        kept = {
            "events": self._retention.events,
            "audit_entries": self._retention.audit,
            "webhook_attempts": self._retention.webhooks,
        }
        for table, time in kept.items():
            with self._database.write(Scope()) as transaction:
                transaction.queue(HASTE)
                dropped = transaction.run(partitions.DROP, table=table, before=self._clock() - time).value()
            if dropped:
                log.info("dropped %d partitions of %s", dropped, table)

    def _drain(self, statement: Statement, database: Database | None = None, **parameters: Any) -> None:
        """Run a deletion until nothing is left for it, each batch in a transaction of its own."""
        count = ROWS_AT_ONCE
        while count == ROWS_AT_ONCE:
            with (database or self._database).write(Scope(platform=True)) as transaction:
                count = transaction.run(statement, limit=ROWS_AT_ONCE, **parameters).count

    def _purge(self, tenant: str, before: datetime) -> None:
        is_more = True
        while is_more:
            with self._database.write(Scope(tenant_id=tenant)) as transaction:
                limits = {"tenant": tenant, "before": before, "limit": ROWS_AT_ONCE}
                counts = [transaction.run(statement, **limits).count for statement in self._purges]
            is_more = ROWS_AT_ONCE in counts

    def _drop(self, tenant: str, before: datetime) -> None:
        with self._database.write(Scope(platform=True)) as transaction:
            transaction.run(DROP_TENANT, tenant=tenant, before=before)

    def _try(self, act: Any, tenant: str, before: datetime) -> bool:
        """Whether it went well for a tenant. What fails in one holds up no other."""
        try:
            act(tenant, before)
        except (psycopg.Error, DatabaseUnavailable):
            log.exception("maintenance failed for tenant %s", tenant)
            return False
        return True


def _complain(what: str, failed: list[str]) -> None:
    if failed:
        raise Unfinished(f"{what} failed for {len(failed)} tenants, {failed[0]} among them")
