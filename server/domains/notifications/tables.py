"""Tables of notifications."""

from sqlalchemy import ARRAY, Boolean, Column, ForeignKeyConstraint, Index, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from server.data.tables import tenant_table, time_column, uuid_column

_EMPTY = text("''")
_MEMBER = (["tenant_id", "user_id"], ["memberships.tenant_id", "memberships.user_id"])
# What people are told. It goes with their membership.
notifications = tenant_table(
    "notifications",
    uuid_column("user_id"),
    *(Column(name, Text, nullable=False) for name in ("workflow", "category")),
    Column("priority", SmallInteger, nullable=False),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("group_key", "title", "body", "url")),
    Column("data", JSONB),
    uuid_column("actor_id", nullable=True),
    Column("unread", Boolean, nullable=False, server_default=text("true")),
    *(time_column(f"{name}_time", nullable=True) for name in ("read", "seen", "archive", "deliver", "expire")),
    # Each person is told something with the same key once.
    Column("dedupe_key", Text, nullable=False, server_default=_EMPTY),
    ForeignKeyConstraint(*_MEMBER, ondelete="CASCADE"),
)
_n = notifications.c
for _name in ("create_time", "update_time", "unread", "workflow", "category", "priority", "group_key"):
    Index(f"notifications_{_name}_idx", _n.tenant_id, _n.user_id, _n[_name], _n.id)
Index("notifications_of_tenant_idx", _n.tenant_id, _n.create_time, _n.id)
_is_in_inbox = _n.archive_time.is_(None)
Index("notifications_inbox_idx", _n.tenant_id, _n.user_id, _n.create_time, _n.id, postgresql_where=_is_in_inbox)
Index(
    "notifications_archived_idx",
    *(_n.tenant_id, _n.user_id, _n.create_time, _n.id),
    postgresql_where=_n.archive_time.is_not(None),
)
Index(
    "notifications_dedupe_key",
    *(_n.tenant_id, _n.user_id, _n.dedupe_key),
    unique=True,
    postgresql_where=_n.dedupe_key != _EMPTY,
)
# Of one person: what expires. Across tenants: what has to leave the counts, and what is old.
Index(
    "notifications_expiring_idx",
    *(_n.tenant_id, _n.user_id, _n.expire_time),
    postgresql_where=_n.expire_time.is_not(None) & _is_in_inbox,
)
Index("notifications_expire_time_idx", _n.expire_time, postgresql_where=_n.expire_time.is_not(None) & _is_in_inbox)
Index("notifications_old_idx", _n.create_time, postgresql_where=_is_in_inbox)
Index("notifications_purge_idx", _n.create_time)

# How many of a person's are unread and unseen, those that are archived apart. Its id is that of the user.
notification_counts = tenant_table(
    "notification_counts",
    uuid_column("user_id"),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("unread", "unseen")),
    ForeignKeyConstraint(*_MEMBER, ondelete="CASCADE"),
)
Index("notification_counts_user_id_idx", notification_counts.c.tenant_id, notification_counts.c.user_id)

# What the pipeline decided for one person, by the id of the notification, whether there is one or not.
notification_runs = tenant_table(
    "notification_runs",
    uuid_column("user_id"),
    Column("workflow", Text, nullable=False),
    Column("is_told", Boolean, nullable=False),
    Column("explanation", JSONB, nullable=False),
)
_r = notification_runs.c
Index("notification_runs_create_time_idx", _r.create_time)
Index("notification_runs_user_id_idx", _r.tenant_id, _r.user_id)

notification_preferences = tenant_table(
    "notification_preferences",
    uuid_column("user_id"),
    Column("rules", JSONB, nullable=False, server_default=text("'[]'")),
    ForeignKeyConstraint(*_MEMBER, ondelete="CASCADE"),
)
_p = notification_preferences.c
Index("notification_preferences_user_id_idx", _p.tenant_id, _p.user_id)

notification_schedules = tenant_table(
    "notification_schedules",
    Column("user_ids", ARRAY(Text), nullable=False),
    Column("message", JSONB, nullable=False),
    time_column("send_time"),
    Column("state", SmallInteger, nullable=False),
    Column("told_count", Integer, nullable=False, server_default=text("0")),
    uuid_column("actor_id", nullable=True),
)
_s = notification_schedules.c
for _name in ("send_time", "create_time"):
    Index(f"notification_schedules_{_name}_idx", _s.tenant_id, _s[_name], _s.id)
# Across tenants: what is due, and what was sent long ago.
Index("notification_schedules_due_idx", _s.send_time, postgresql_where=_s.state == text("1"))
Index("notification_schedules_sent_idx", _s.send_time)
