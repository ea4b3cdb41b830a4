"""Operations whose job is gone: they fail, so that none runs for ever.

A job outlives the loss of its worker. It is gone if it lost its worker too often (server/workers/rescue.py), or if
somebody removed it.
"""

import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy import ARRAY, DateTime, Integer, Text, bindparam, select, text, tuple_

from server.data.events import NO_TENANT
from server.data.operations import IS_LIVE, operations
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.kernel.clock import Clock
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule
from server.kernel.operations import end_lost

log = logging.getLogger("plinth.operations")
EVERY_MINUTE = "* * * * *"
CAUSE = "operations.fail_orphans"
AT_ONCE = 1000
# An operation that changed a moment ago has a job.
QUIET = timedelta(minutes=1)

QUIET_ONES = Statement(
    select(operations.c.tenant_id, operations.c.id, operations.c.create_time)
    .where(
        text(IS_LIVE),
        operations.c.update_time < bindparam("before", type_=DateTime(timezone=True)),
        tuple_(operations.c.create_time, operations.c.id)
        > tuple_(
            bindparam("after_time", type_=DateTime(timezone=True)), bindparam("after_id", type_=operations.c.id.type)
        ),
    )
    .order_by(operations.c.create_time, operations.c.id)
    .limit(bindparam("limit", type_=Integer()))
)
WITH_JOB = Statement(
    text(
        "SELECT DISTINCT args->>'operation_id' AS id FROM procrastinate_jobs "
        "WHERE status IN ('todo', 'doing') AND args->>'operation_id' = ANY (:ids)"
    )
    .bindparams(bindparam("ids", type_=ARRAY(Text())))
    .columns(id=Text())
)


class Orphans:
    """Finds and fails them."""

    def __init__(self, dispatch: Database, database: Database, clock: Clock) -> None:
        """`dispatch` reads the operations of all tenants, `database` the jobs."""
        self._dispatch = dispatch
        self._database = database
        self._clock = clock

    @property
    def schedule(self) -> Schedule:
        """The schedule: every minute."""
        return Schedule(EVERY_MINUTE, Job(CAUSE, self.run, MAINTENANCE_QUEUE, NEVER_AGAIN))

    def run(self) -> None:
        """Fail every operation without a job."""
        before = self._clock() - QUIET
        after = {"after_time": datetime.min.replace(tzinfo=UTC), "after_id": NO_TENANT}
        while True:
            with self._dispatch.read(Scope()) as transaction:
                quiet = transaction.run(QUIET_ONES, before=before, limit=AT_ONCE, **after).all()
            if quiet:
                self._fail_those_without_job(quiet)
            if len(quiet) < AT_ONCE:
                return
            after = {"after_time": quiet[-1]["create_time"], "after_id": quiet[-1]["id"]}

    def _fail_those_without_job(self, quiet: list[Row]) -> None:
        # Read after the operations: a job that ended meanwhile has ended its operation before.
        with self._database.read(Scope()) as transaction:
            held = {row["id"] for row in transaction.run(WITH_JOB, ids=[row["id"] for row in quiet]).all()}
        for row in quiet:
            if row["id"] not in held:
                self._fail(row["tenant_id"], row["id"])

    def _fail(self, tenant_id: str, operation_id: str) -> None:
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            if end_lost(transaction, tenant_id, operation_id, CAUSE, self._clock()):
                log.error("operation %s failed: its job is gone", operation_id)
