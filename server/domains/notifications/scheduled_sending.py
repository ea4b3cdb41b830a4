"""Sending what was scheduled, when its time has come."""

from plinth.notifications.v1.notification_schedule_pb2 import NotificationSchedule
from sqlalchemy import Integer, SmallInteger, bindparam, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.notifications.tables import notification_schedules
from server.domains.notifications.telling import Teller, letters_to
from server.domains.notifications.texts import texts_of
from server.kernel.clock import Clock
from server.kernel.due_rows import DueRows
from server.kernel.jobs import DEFAULT_QUEUE, NEVER_AGAIN, Job, Schedule
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan

EVERY_TEN_SECONDS = "* * * * * */10"
AT_ONCE = 500
SENT = "notification_schedule.sent"
CAUSE = "notifications.send_scheduled"
PLAN = ConversionPlan(NotificationSchedule, notification_schedules, ("texts",))
_s = notification_schedules.c
_id = UUID(as_uuid=False)
_waits = _s.state == literal_column(str(int(NotificationSchedule.STATE_WAITING)), SmallInteger())
_is_one = (_s.tenant_id == bindparam("tenant", type_=_id), _s.id == bindparam("schedule", type_=_id))
DUE = Statement(
    select(_s.tenant_id, _s.id).where(_waits, _s.send_time <= func.now()).order_by(_s.send_time).limit(AT_ONCE)
)
LOCK = Statement(
    select(*PLAN.columns, _s.texts)
    .where(*_is_one, _waits, _s.send_time <= func.now())
    .with_for_update(skip_locked=True)
)
"""Takes `tenant` and `schedule`."""
END = Statement(
    update(notification_schedules)
    .where(*_is_one)
    .values(
        state=literal_column(str(int(NotificationSchedule.STATE_SENT)), SmallInteger()),
        told_count=bindparam("told", type_=Integer()),
        version=_s.version + text("1"),
        update_time=func.now(),
    )
    .returning(*PLAN.columns)
)
"""Takes `tenant`, `schedule`, and how many were `told`."""


class ScheduledSending:
    """Sends what is due in all tenants."""

    def __init__(self, dispatch: Database, database: Database, teller: Teller, clock: Clock) -> None:
        """`dispatch` finds it; `database` sends each within its own tenant."""
        self._database, self._teller, self._clock = database, teller, clock
        self._due = DueRows(dispatch, DUE, self._send, "the notification schedule")

    @property
    def schedule(self) -> Schedule:
        """When it looks."""
        return Schedule(EVERY_TEN_SECONDS, Job(CAUSE, self.run, DEFAULT_QUEUE, retry=NEVER_AGAIN))

    def run(self) -> None:
        """Send what is due."""
        self._due.run()

    def _send(self, tenant_id: str, schedule_id: str) -> None:
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            locked = transaction.run(LOCK, tenant=tenant_id, schedule=schedule_id)
            if not locked.returned:
                return
            before = PLAN.message(locked.raw(0))
            texts = texts_of(before.message, locked.one()["texts"])
            letters = letters_to(before.user_ids, before.message, texts)
            told = self._teller.tell_in_a_job(transaction, tenant_id, before.actor_id or None, letters, CAUSE)
            ended = transaction.run(END, tenant=tenant_id, schedule=schedule_id, told=told)
            record_platform_change(
                transaction,
                SENT,
                cause=CAUSE,
                before=before,
                after=PLAN.message(ended.raw(0)),
                now=self._clock(),
                tenant_id=tenant_id,
                audience=None,
            )
