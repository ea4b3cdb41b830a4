"""Outgoing: notifications that leave by mail or push, as rows from which workers send them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import DateTime, SmallInteger, Text, bindparam, column, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert

from server.data.clauses import AnyType
from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.domains.notifications.pace import Pace, paced
from server.domains.notifications.pipeline import Decision
from server.domains.notifications.tables import notification_counts, notification_deliveries
from server.domains.notifications.waiting import RATE, Wait
from server.domains.notifications.workflows import EMAIL, PUSH
from server.json_values import JsonObject
from server.kernel.rates import Rate

_id = UUID(as_uuid=False)
_time = DateTime(timezone=True)
_v, _c = notification_deliveries.c, notification_counts.c
_tenant = bindparam("tenant", type_=_id)
# A parameter that is a list is an array: its rows stand in an object.
_rows = bindparam("given", type_=JSONB()).op("->")(literal_column("'rows'"))
NEW: Mapping[str, AnyType] = {
    "id": _id,
    "user_id": _id,
    "notification_id": _id,
    "channel": SmallInteger(),
    "notification_device_id": _id,
    "workflow": Text(),
    "group_key": Text(),
    "priority": SmallInteger(),
    "title": Text(),
    "body": Text(),
    "url": Text(),
    "state": SmallInteger(),
    "reason": Text(),
    "next_attempt_time": _time,
    "expire_time": _time,
    "dedupe_key": Text(),
}
_new = (
    func.jsonb_to_recordset(_rows)
    .table_valued(*(column(name, kind) for name, kind in NEW.items()))
    .render_derived(name="given", with_types=True)
)
STORE = Statement(
    insert(notification_deliveries)
    .from_select(
        ["tenant_id", *NEW],
        select(_tenant, *(_new.c[name] for name in NEW)).order_by(_new.c.user_id, _new.c.dedupe_key, _new.c.channel),
    )
    .on_conflict_do_nothing()
    .returning(_v.notification_id)
)
"""Takes `tenant` and `given`, whose `rows` have the columns of NEW. Returns the notifications of those that are new."""
TIMES = ("email_empty_time", "email_open_time", "push_empty_time", "push_open_time")
_people = (
    func.jsonb_to_recordset(_rows).table_valued(column("user_id", _id)).render_derived(name="given", with_types=True)
)
_held = insert(notification_counts).from_select(
    ["tenant_id", "id", "user_id"],
    select(_tenant, _people.c.user_id.label("id"), _people.c.user_id).order_by(_people.c.user_id),
)
HOLD_PACES = Statement(
    _held.on_conflict_do_update(index_elements=[_c.tenant_id, _c.id], set_={"update_time": func.now()}).returning(
        _c.user_id, *(_c[name] for name in TIMES)
    )
)
"""Takes `tenant` and `given`, whose `rows` have `user_id`. Locks the paces of these people in one order."""
_set = (
    func.jsonb_to_recordset(_rows)
    .table_valued(column("user_id", _id), *(column(name, _time) for name in TIMES))
    .render_derived(name="given", with_types=True)
)
SET_PACES = Statement(
    update(notification_counts)
    .where(_c.tenant_id == _tenant, _c.id == _set.c.user_id)
    .values({name: _set.c[name] for name in TIMES} | {"version": _c.version + text("1")})
)
"""Takes `tenant` and `given`, whose `rows` have `user_id` and TIMES."""
TIMES_OF: Mapping[int, tuple[str, str]] = {EMAIL: TIMES[:2], PUSH: TIMES[2:]}


class Outgoing(NamedTuple):
    """What one person is told by mail or push."""

    user_id: str
    decision: Decision
    never_waits: bool


def keep_pace(
    transaction: WriteTransaction, tenant_id: str, going: Sequence[Outgoing], rates: Mapping[int, Rate], now: datetime
) -> None:
    """Let wait what would go out at once and is too much for its person. `rates` are those of the channels."""
    limited = [each for each in going if not each.never_waits and any(_goes_now(each, channel) for channel in TIMES_OF)]
    if not limited:
        return
    users = [{"user_id": user_id} for user_id in sorted({each.user_id for each in limited})]
    rows = transaction.run(HOLD_PACES, tenant=tenant_id, given={"rows": users}).all()
    held = {row["user_id"]: row for row in rows}
    for each in limited:
        for channel in filter(lambda channel: _goes_now(each, channel), TIMES_OF):
            _take(held[each.user_id], each.decision, channel, rates[channel], now)
    changed = [{"user_id": row["user_id"], **{name: _written(row[name]) for name in TIMES}} for row in rows]
    transaction.queue(SET_PACES, tenant=tenant_id, given={"rows": changed})


def _goes_now(outgoing: Outgoing, channel: int) -> bool:
    return outgoing.decision.channels.get(channel, ...) is None


def _take(row: Row, decision: Decision, channel: int, rate: Rate, now: datetime) -> None:
    names = TIMES_OF[channel]
    pace, leaves = paced(Pace(*(row[name] for name in names)), rate, now)
    row.update(zip(names, pace, strict=True))
    if leaves > now:
        decision.defer(channel, Wait(leaves, RATE))


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def store(transaction: WriteTransaction, tenant_id: str, rows: Sequence[JsonObject]) -> set[str]:
    """Store deliveries, but for repetitions. Returns the ids of the notifications that have one."""
    if not rows:
        return set()
    found = transaction.run(STORE, tenant=tenant_id, given={"rows": list(rows)}).all()
    return {row["notification_id"] for row in found}
