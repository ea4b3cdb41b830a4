"""Counts: how many notifications of a person are unread and unseen.

One row for each person, changed in the transaction of what changes the notification. What has expired is in the row
until a job takes it out, so a read subtracts it.
"""

from collections.abc import Mapping

from plinth.notifications.v1.inbox_pb2 import UnreadCount
from plinth.notifications.v1.notification_pb2 import Notification
from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    Integer,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.clauses import AnyColumn, AnyExpression
from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.notifications.tables import notification_counts, notifications
from server.kernel.call import Call

AT_ONCE = 500
_id = UUID(as_uuid=False)
_c, _n = notification_counts.c, notifications.c
_tenant, _user = bindparam("tenant", type_=_id), bindparam("user", type_=_id)
_expired = (
    select(
        func.count().filter(_n.unread).label("unread"),
        func.count().filter(_n.seen_time.is_(None)).label("unseen"),
    )
    .where(_n.tenant_id == _tenant, _n.user_id == _user, _n.archive_time.is_(None), _n.expire_time <= func.now())
    .cte("expired")
)
_held = select(_c.unread, _c.unseen).where(_c.tenant_id == _tenant, _c.id == _user).cte("held")
COUNTS = Statement(
    select(
        (func.coalesce(_held.c.unread, literal_column("0")) - _expired.c.unread).cast(Integer).label("unread_count"),
        (func.coalesce(_held.c.unseen, literal_column("0")) - _expired.c.unseen).cast(Integer).label("unseen_count"),
    ).select_from(_expired.outerjoin(_held, literal_column("true")))
)
"""Takes `tenant` and `user`."""
_new = insert(notification_counts).values(
    tenant_id=_tenant,
    id=_user,
    user_id=_user,
    unread=bindparam("unread", type_=Integer()),
    unseen=bindparam("unseen", type_=Integer()),
)
ADD = Statement(
    _new.on_conflict_do_update(
        index_elements=[_c.tenant_id, _c.id],
        set_={"unread": _c.unread + _new.excluded.unread, "unseen": _c.unseen + _new.excluded.unseen},
    )
)
"""Takes `tenant`, `user`, and what is added to `unread` and `unseen`."""
_in_inbox = _n.archive_time.is_(None)
_leaving = (_n.tenant_id, _n.id, _n.user_id, _n.unread, _n.seen_time)


def _change(found: CTE, values: Mapping[str, AnyExpression], *, are_read: bool) -> Statement:
    """Changes notifications that were found and locked, and takes them out of the counts: of unread if `are_read`.

    Returns how many there were. Counts are locked in one order, as those are which STORE adds to.
    """
    changed = (
        update(notifications)
        .where(_n.tenant_id == found.c.tenant_id, _n.id == found.c.id)
        .values(**values, version=_n.version + text("1"), update_time=func.now())
        .returning(_n.id)
        .cte("changed")
    )
    left = (
        select(
            *(found.c.tenant_id, found.c.user_id),
            (func.count().filter(found.c.unread) if are_read else literal_column("0")).label("unread"),
            func.count().filter(found.c.seen_time.is_(None)).label("unseen"),
        )
        .group_by(found.c.tenant_id, found.c.user_id)
        .cte("left_of")
    )
    held = (
        select(_c.tenant_id, _c.id, left.c.unread, left.c.unseen)
        .join_from(left, notification_counts, (_c.tenant_id == left.c.tenant_id) & (_c.id == left.c.user_id))
        .order_by(_c.tenant_id, _c.id)
        .with_for_update(of=notification_counts)
        .cte("counts_held")
    )
    counted = (
        update(notification_counts)
        .where(_c.tenant_id == held.c.tenant_id, _c.id == held.c.id)
        .values(unread=_c.unread - held.c.unread, unseen=_c.unseen - held.c.unseen)
        .returning(_c.id)
        .cte("counted")
    )
    return Statement(select(func.count(type_=Integer()).label("count")).select_from(changed).add_cte(counted))


def _marking(*conditions: ColumnElement[bool]) -> CTE:
    """Those in the inbox of a person until a time, in the order of their ids."""
    until = _n.create_time <= func.coalesce(bindparam("as_of", type_=DateTime(timezone=True)), func.now())
    in_inbox = (_n.tenant_id == _tenant, _n.user_id == _user, _in_inbox, until)
    return select(*_leaving).where(*in_inbox, *conditions).order_by(_n.id).with_for_update().cte("found")


def _sweeping(column: AnyColumn) -> CTE:
    """Those in any inbox whose time is before `before`, the oldest first, some at a time."""
    return (
        select(*_leaving)
        .where(_in_inbox, column <= bindparam("before", type_=DateTime(timezone=True)))
        .order_by(column)
        .limit(literal_column(str(AT_ONCE)))
        .with_for_update(skip_locked=True)
        .cte("found")
    )


_group = bindparam("group", type_=Text())
_seen = {"seen_time": func.coalesce(_n.seen_time, func.now())}
MARK_READ = _change(
    _marking(_n.unread, or_(_group == literal_column("''"), _n.group_key == _group)),
    {"unread": literal_column("false"), "read_time": func.now(), **_seen},
    are_read=True,
)
"""Takes `tenant`, `user`, `as_of` or None for now, and `group`, which is empty for all. Returns how many there were."""
MARK_SEEN = _change(_marking(_n.seen_time.is_(None)), _seen, are_read=False)
"""Takes `tenant`, `user` and `as_of`."""
ARCHIVE_EXPIRED, ARCHIVE_OLD = (
    _change(_sweeping(column), {"archive_time": func.now()}, are_read=True)
    for column in (_n.expire_time, _n.create_time)
)
"""Both take `before`, and archive AT_ONCE of all tenants. They return how many there were."""


def counts_of(transaction: Transaction, tenant_id: str | None, user_id: str) -> UnreadCount:
    """The counts of a person."""
    return UnreadCount(**transaction.run(COUNTS, tenant=tenant_id, user=user_id).one())


def note_change(call: Call, after: Notification | None, before: Notification) -> None:
    """Count what becomes of a notification; None if it goes."""
    unread, unseen = (new - old for new, old in zip(_counted(after), _counted(before), strict=True))
    if unread or unseen:
        call.writes.queue(ADD, tenant=call.tenant_id, user=before.user_id, unread=unread, unseen=unseen)


def _counted(notification: Notification | None) -> tuple[int, int]:
    """What it adds to unread and unseen."""
    if notification is None or notification.HasField("archive_time"):
        return 0, 0
    return int(notification.unread), int(not notification.HasField("seen_time"))
