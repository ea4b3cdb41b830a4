"""Purging of tenants, with everything under them, that were deleted too long ago to be restored."""

import logging
from datetime import datetime, timedelta

import psycopg
from sqlalchemy import DateTime, Integer, bindparam, delete, select

from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.tenancy.tables import tenants
from server.kernel.clock import Clock, utc_now
from server.kernel.jobs import MAINTENANCE_QUEUE, Job, Schedule

log = logging.getLogger("plinth.maintenance")
# All rows that refer to a tenant are removed with it, so each tenant is removed in a transaction of its own.
TENANTS_AT_ONCE = 500
EVERY_HOUR = "32 * * * *"

_before = bindparam("before", type_=DateTime(timezone=True))
OLD_TENANTS = Statement(
    select(tenants.c.id)
    .where(tenants.c.delete_time < _before)
    .order_by(tenants.c.delete_time)
    .limit(bindparam("limit", type_=Integer()))
)
DROP_TENANT = Statement(
    delete(tenants)
    .where(tenants.c.id == bindparam("tenant", type_=tenants.c.id.type))
    .where(tenants.c.delete_time < _before)
)


class Unfinished(Exception):
    """Some tenants could not be removed; all others were."""


class Purging:
    """Removes deleted tenants, at most TENANTS_AT_ONCE per hour."""

    def __init__(
        self, database: Database, kept: timedelta, clock: Clock = utc_now, *, queue: str = MAINTENANCE_QUEUE
    ) -> None:
        """A deleted tenant can be restored for the time `kept`."""
        self._database = database
        self._kept = kept
        self._clock = clock
        self._queue = queue

    @property
    def schedule(self) -> Schedule:
        """The schedule: every hour."""
        return Schedule(EVERY_HOUR, Job("maintenance.purge_tenants", self.run, self._queue))

    def run(self) -> None:
        """Remove the tenants whose retention has ended. Raises Unfinished if one could not be removed."""
        before = self._clock() - self._kept
        with self._database.write(Scope(platform=True)) as transaction:
            found = transaction.run(OLD_TENANTS, before=before, limit=TENANTS_AT_ONCE).all()
        failed = [row["id"] for row in found if not self._drop(row["id"], before)]
        if failed:
            raise Unfinished(f"removing failed for {len(failed)} tenants, {failed[0]} among them")

    def _drop(self, tenant: str, before: datetime) -> bool:
        """Remove a tenant. Returns whether it succeeded, so that one failure does not stop the others."""
        try:
            with self._database.write(Scope(platform=True)) as transaction:
                transaction.run(DROP_TENANT, tenant=tenant, before=before)
        except (psycopg.Error, DatabaseUnavailable):
            log.exception("removing failed for tenant %s", tenant)
            return False
        return True
