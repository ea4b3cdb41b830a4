"""Renewals: a period that is over is followed by the next one, or by the end of a subscription that was cancelled."""

from datetime import UTC, datetime

from plinth.billing.v1.subscription_pb2 import Subscription
from sqlalchemy import bindparam, func, literal_column, select, update

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.billing.periods import next_end
from server.domains.billing.tables import HIDDEN, IS_LIVE, subscriptions
from server.kernel.clock import Clock
from server.kernel.due_rows import DueRows
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan

EVERY_FIVE_MINUTES = "*/5 * * * *"
AT_ONCE = 500
"""Subscriptions that one look takes."""
"""Looks of one run. Each carries a subscription over one period, of which several may have passed without a worker."""
CAUSE = "billing.renewal"
PLAN = ConversionPlan(Subscription, subscriptions, HIDDEN)
_s = subscriptions.c
_is_due = (IS_LIVE, _s.period_end_time <= func.now())
DUE = Statement(
    select(_s.tenant_id, _s.id).where(*_is_due).order_by(_s.period_end_time).limit(literal_column(str(AT_ONCE)))
)
_is_one = (_s.tenant_id == bindparam("tenant", type_=_s.tenant_id.type), _s.id == bindparam("key", type_=_s.id.type))
ANCHOR = Statement(select(_s.anchor_time).where(*_is_one))
LOCK = Statement(select(*PLAN.columns).where(*_is_one, *_is_due).with_for_update(skip_locked=True))
_CHANGED = ("status", "period_start_time", "period_end_time", "end_time")
RENEW = Statement(
    update(subscriptions)
    .where(*_is_one)
    .values({name: bindparam(f"new_{name}", type_=_s[name].type) for name in _CHANGED})
    .values(version=_s.version + literal_column("1"), update_time=func.now())
    .returning(*PLAN.columns)
)


class Renewals:
    """Renews and ends the subscriptions of all tenants whose period is over."""

    def __init__(self, dispatch: Database, database: Database, clock: Clock) -> None:
        """`dispatch` finds them in all tenants; `database` changes each within its own."""
        self._dispatch = dispatch
        self._database = database
        self._clock = clock

    @property
    def schedule(self) -> Schedule:
        """The schedule: every five minutes."""
        job = Job("billing.renew_subscriptions", self.run, MAINTENANCE_QUEUE, retry=NEVER_AGAIN)
        return Schedule(EVERY_FIVE_MINUTES, job)

    def run(self) -> None:
        """Renew what is due."""
        DueRows(self._dispatch, DUE, self._renew, "the subscription").run()

    def _renew(self, tenant_id: str, subscription_id: str) -> None:
        key = {"tenant": tenant_id, "key": subscription_id}
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            locked = transaction.run(LOCK, **key)
            if not locked.returned:
                return
            before = PLAN.message(locked.raw(0))
            anchor = transaction.run(ANCHOR, **key).value()
            event, changes = _next(before, anchor)
            result = transaction.run(RENEW, **key, **{f"new_{name}": value for name, value in changes.items()})
            record_platform_change(
                transaction,
                event,
                cause=CAUSE,
                before=before,
                after=PLAN.message(result.raw(0)),
                now=self._clock(),
                tenant_id=tenant_id,
                audience=None,
            )


def _next(before: Subscription, anchor: datetime) -> tuple[str, Row]:
    """The event of the end of a period, and the columns that it changes."""
    start = before.period_start_time.ToDatetime(UTC)
    end = before.period_end_time.ToDatetime(UTC)
    if before.cancel_at_period_end:
        ended = {"status": Subscription.STATUS_CANCELLED, "end_time": end}
        return "subscription.ended", ended | {"period_start_time": start, "period_end_time": end}
    event = "subscription.activated" if before.status == Subscription.STATUS_TRIALING else "subscription.renewed"
    following = {"period_start_time": end, "period_end_time": next_end(anchor, before.interval, end)}
    return event, following | {"status": Subscription.STATUS_ACTIVE, "end_time": None}
