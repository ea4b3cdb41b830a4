"""Sweeping: what has expired or is old leaves the inbox, and its counts."""

from datetime import datetime, timedelta

from sqlalchemy import DateTime, Integer, bindparam, func, literal_column, select, text, update

from server.data.clauses import AnyExpression
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.notifications.tables import notification_counts, notifications
from server.kernel.clock import Clock
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule

EVERY_MINUTE, EVERY_NIGHT = "* * * * *", "37 2 * * *"
KEPT_IN_INBOX = timedelta(days=90)
AT_ONCE = 500
MOST_BATCHES = 200
_n, _c = notifications.c, notification_counts.c
_before = bindparam("before", type_=DateTime(timezone=True))


def _sweep(column: AnyExpression) -> Statement:
    """Archives what has a time before `before`, and takes it out of the counts."""
    found = (
        select(_n.tenant_id, _n.id, _n.user_id, _n.unread, _n.seen_time)
        .where(_n.archive_time.is_(None), column <= _before)
        .order_by(column)
        .limit(literal_column(str(AT_ONCE)))
        .with_for_update(skip_locked=True)
        .cte("found")
    )
    archived = (
        update(notifications)
        .where(_n.tenant_id == found.c.tenant_id, _n.id == found.c.id)
        .values(archive_time=func.now(), version=_n.version + text("1"), update_time=func.now())
        .returning(_n.id)
        .cte("archived")
    )
    left = (
        select(
            found.c.tenant_id,
            found.c.user_id,
            func.count().filter(found.c.unread).label("unread"),
            func.count().filter(found.c.seen_time.is_(None)).label("unseen"),
        )
        .group_by(found.c.tenant_id, found.c.user_id)
        .cte("left_of")
    )
    counted = (
        update(notification_counts)
        .where(_c.tenant_id == left.c.tenant_id, _c.id == left.c.user_id)
        .values(unread=_c.unread - left.c.unread, unseen=_c.unseen - left.c.unseen)
        .returning(_c.id)
        .cte("counted")
    )
    return Statement(select(func.count(type_=Integer()).label("count")).select_from(archived).add_cte(counted))


EXPIRED, OLD = _sweep(_n.expire_time), _sweep(_n.create_time)
"""Both take `before`."""


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
        self._run(EXPIRED, self._clock())

    def archive_old(self) -> None:
        """What came long ago."""
        self._run(OLD, self._clock() - KEPT_IN_INBOX)

    def _run(self, statement: Statement, before: datetime) -> None:
        for _ in range(MOST_BATCHES):
            with self._dispatch.write(Scope()) as transaction:
                if transaction.run(statement, before=before).value() < AT_ONCE:
                    return
