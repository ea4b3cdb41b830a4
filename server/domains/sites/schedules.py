"""Schedules: pages are published, and taken off their site, when their time has come."""

import logging

from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_version_pb2 import PageVersion
from sqlalchemy import ColumnElement, Integer, SmallInteger, bindparam, func, literal_column, null, or_, select, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.sites.drafts import keep_draft
from server.domains.sites.page_paths import fill_paths
from server.domains.sites.tables import pages
from server.kernel.caching import Generations
from server.kernel.clock import Clock
from server.kernel.due_rows import DueRows
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule
from server.kernel.problems import StateForbids
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan

log = logging.getLogger("plinth.sites")
EVERY_MINUTE = "* * * * *"
AT_ONCE = 500
"""Pages that one look takes."""
CAUSE = "sites.page_schedule"
PLAN = ConversionPlan(Page, pages, computed=("path",))
_p = pages.c
_id = UUID(as_uuid=False)


def _is_due(column: ColumnElement[object]) -> ColumnElement[bool]:
    return column <= func.now()


_alive = _p.delete_time.is_(None)
_any_is_due = or_(_is_due(_p.scheduled_publish_time), _is_due(_p.scheduled_unpublish_time))
DUE = Statement(
    select(_p.tenant_id, _p.id)
    .where(_alive, _any_is_due)
    .order_by(func.least(_p.scheduled_publish_time, _p.scheduled_unpublish_time))
    .limit(literal_column(str(AT_ONCE)))
)
_is_one = (_p.tenant_id == bindparam("tenant", type_=_id), _p.id == bindparam("page", type_=_id))
LOCK = Statement(
    select(
        *PLAN.columns,
        func.coalesce(_is_due(_p.scheduled_publish_time), literal_column("false")).label("is_published"),
        func.coalesce(_is_due(_p.scheduled_unpublish_time), literal_column("false")).label("is_taken_off"),
    )
    .where(*_is_one, _alive, _any_is_due)
    .with_for_update(skip_locked=True, key_share=True)
)
_next = {"version": _p.version + literal_column("1"), "update_time": func.now()}
PUBLISH = Statement(
    update(pages)
    .where(*_is_one)
    .values(
        status=literal_column(str(int(Page.STATUS_PUBLISHED)), SmallInteger()),
        version_number=bindparam("number", type_=Integer()),
        publish_time=func.now(),
        scheduled_publish_time=null(),
        **_next,
    )
    .returning(*PLAN.columns)
)
TAKE_OFF = Statement(
    update(pages)
    .where(*_is_one)
    .values(
        status=literal_column(str(int(Page.STATUS_DRAFT)), SmallInteger()), scheduled_unpublish_time=null(), **_next
    )
    .returning(*PLAN.columns)
)
DROP = Statement(update(pages).where(*_is_one).values(scheduled_publish_time=null(), **_next).returning(*PLAN.columns))


class PageSchedules:
    """Publishes the pages of all tenants that are due, and takes them off."""

    def __init__(self, dispatch: Database, database: Database, generations: Generations, clock: Clock) -> None:
        """`dispatch` finds them in all tenants; `database` changes each within its own."""
        self._dispatch = dispatch
        self._database = database
        self._generations = generations
        self._clock = clock

    @property
    def schedule(self) -> Schedule:
        """The schedule: every minute."""
        return Schedule(EVERY_MINUTE, Job("sites.publish_scheduled", self.run, MAINTENANCE_QUEUE, retry=NEVER_AGAIN))

    def run(self) -> None:
        """Do what is due."""
        DueRows(self._dispatch, DUE, self._do_one, "the schedule of page").run()

    def _do_one(self, tenant_id: str, page_id: str) -> None:
        self._do(tenant_id, page_id)
        self._generations.invalidate([f"tenant:{tenant_id}:pages"])

    def _do(self, tenant_id: str, page_id: str) -> None:
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            locked = transaction.run(LOCK, tenant=tenant_id, page=page_id)
            row = locked.first()
            if row is None:
                return
            page = PLAN.message(locked.raw(0))
            if row["is_published"]:
                page = self._publish(transaction, page)
            if row["is_taken_off"]:
                self._change(transaction, "page.unpublished", TAKE_OFF, page)

    def _publish(self, transaction: WriteTransaction, page: Page) -> Page:
        try:
            kept = keep_draft(transaction, page.tenant_id, page.id, PageVersion.REASON_PUBLISHED)
        except StateForbids as refused:
            log.warning("page %s is not published as planned: %s", page.id, refused)
            return self._change(transaction, "page.schedule_failed", DROP, page)
        return self._change(transaction, "page.published", PUBLISH, page, number=kept.number)

    def _change(
        self, transaction: WriteTransaction, event: str, statement: Statement, before: Page, **values: object
    ) -> Page:
        result = transaction.run(statement, tenant=before.tenant_id, page=before.id, **values)
        after = PLAN.message(result.raw(0))
        # The path is computed: in one of them alone, it would be told as a change.
        fill_paths(transaction, before.tenant_id, [before, after])
        record_platform_change(
            transaction,
            event,
            cause=CAUSE,
            before=before,
            after=after,
            now=self._clock(),
            tenant_id=before.tenant_id,
            audience=None,
        )
        return after
