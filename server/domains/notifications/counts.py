"""Counts: how many notifications of a person are unread and unseen.

One row for each person, changed in the transaction of what changes the notification. What has expired is in the row
until a job takes it out, so a read subtracts it.
"""

from plinth.notifications.v1.inbox_pb2 import UnreadCount
from plinth.notifications.v1.notification_pb2 import Notification
from sqlalchemy import DateTime, Integer, Text, and_, bindparam, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.notifications.tables import notification_counts, notifications
from server.kernel.call import Call

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
_in_inbox = and_(_n.tenant_id == _tenant, _n.user_id == _user, _n.archive_time.is_(None))
_until = and_(
    _in_inbox,
    _n.create_time <= bindparam("as_of", type_=DateTime(timezone=True)),
)
_group = bindparam("group", type_=Text())
_version = {"version": _n.version + text("1"), "update_time": func.now()}


def _marking(is_open: object, values: dict[str, object], *, takes_group: bool) -> Statement:
    """Marks what is open, and counts it. The rows are locked in the order of their ids."""
    of_group = [or_(_group == literal_column("''"), _n.group_key == _group)] if takes_group else []
    found = (
        select(_n.id, _n.unread, _n.seen_time)
        .where(_until, is_open, *of_group)  # type: ignore[arg-type]
        .order_by(_n.id)
        .with_for_update()
        .cte("found")
    )
    marked = (
        update(notifications)
        .where(_n.tenant_id == _tenant, _n.id == found.c.id)
        .values(**values, **_version)
        .returning(_n.id)
        .cte("marked")
    )
    changed = select(
        func.count().label("count"),
        func.count().filter(found.c.unread).label("unread"),
        func.count().filter(found.c.seen_time.is_(None)).label("unseen"),
    ).select_from(marked.join(found, found.c.id == marked.c.id))
    return Statement(changed)


MARK_READ = _marking(
    _n.unread,
    {"unread": literal_column("false"), "read_time": func.now(), "seen_time": func.coalesce(_n.seen_time, func.now())},
    takes_group=True,
)
"""Takes `tenant`, `user`, `as_of` and `group`. Returns how many there were, of which how many `unread` and `unseen`."""
MARK_SEEN = _marking(_n.seen_time.is_(None), {"seen_time": func.now()}, takes_group=False)
"""Takes `tenant`, `user` and `as_of`. Returns the same; what was unread stays so."""


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
