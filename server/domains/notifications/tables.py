"""Tables of notifications."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
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
    # How much the person was sent lately on a channel (pace.py).
    *(
        time_column(f"{channel}_{name}_time", nullable=True)
        for channel in ("email", "push")
        for name in ("empty", "open")
    ),
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
    Column("quiet_hours", JSONB),
    Column("email_digest", JSONB),
    ForeignKeyConstraint(*_MEMBER, ondelete="CASCADE"),
)
_p = notification_preferences.c
Index("notification_preferences_user_id_idx", _p.tenant_id, _p.user_id)

notification_schedules = tenant_table(
    "notification_schedules",
    Column("user_ids", ARRAY(Text), nullable=False),
    Column("message", JSONB, nullable=False),
    # What its template makes of it, by locale. NULL without a template.
    Column("texts", JSONB),
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

# Templates of notifications: their drafts, and what was published of them.
notification_templates = tenant_table(
    "notification_templates",
    *(Column(name, Text, nullable=False) for name in ("key", "locale")),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("display_name", "title", "body", "url")),
    Column("variables", ARRAY(Text), nullable=False),
    Column("published", JSONB),
    Column("version_number", Integer, nullable=False, server_default=text("0")),
    time_column("publish_time", nullable=True),
)
_t = notification_templates.c
Index("notification_templates_key_key", _t.tenant_id, _t.key, _t.locale, unique=True)
for _name in ("create_time", "key"):
    Index(f"notification_templates_{_name}_idx", _t.tenant_id, _t[_name], _t.id)

# Where push notifications go.
notification_devices = tenant_table(
    "notification_devices",
    uuid_column("user_id"),
    Column("display_name", Text, nullable=False, server_default=_EMPTY),
    Column("push_service", Text, nullable=False),
    # SHA-256 of the endpoint, by which it is recognised.
    Column("endpoint_hash", LargeBinary, nullable=False),
    # The subscription, sealed.
    Column("subscription", LargeBinary, nullable=False),
    time_column("last_success_time", nullable=True),
    ForeignKeyConstraint(*_MEMBER, ondelete="CASCADE"),
)
_d = notification_devices.c
Index("notification_devices_endpoint_key", _d.tenant_id, _d.endpoint_hash, unique=True)
Index("notification_devices_create_time_idx", _d.tenant_id, _d.user_id, _d.create_time, _d.id)
Index("notification_devices_of_tenant_idx", _d.tenant_id, _d.create_time, _d.id)

# Notifications on their way by mail and push. They carry what they say: what is not in the inbox may still be sent.
notification_deliveries = tenant_table(
    "notification_deliveries",
    *(uuid_column(name) for name in ("user_id", "notification_id")),
    Column("channel", SmallInteger, nullable=False),
    *(uuid_column(name, nullable=True) for name in ("notification_device_id", "merged_into_id")),
    *(Column(name, Text, nullable=False) for name in ("workflow", "title")),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("group_key", "body", "url", "reason")),
    *(Column(name, SmallInteger, nullable=False) for name in ("priority", "state")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    *(time_column(f"{name}_time", nullable=True) for name in ("next_attempt", "lease", "send", "expire")),
    # What tells repetitions. Each address and device is told something with the same key once.
    Column("dedupe_key", Text, nullable=False, server_default=_EMPTY),
    ForeignKeyConstraint(*_MEMBER, ondelete="CASCADE"),
)
_v = notification_deliveries.c
for _name in ("create_time", "update_time", "notification_id", "channel", "state", "workflow"):
    Index(f"notification_deliveries_{_name}_idx", _v.tenant_id, _v.user_id, _v[_name], _v.id)
Index("notification_deliveries_of_tenant_idx", _v.tenant_id, _v.create_time, _v.id)
Index("notification_deliveries_purge_idx", _v.create_time)
# What a worker may claim: whatever has a next attempt. Those that wait for one person together.
_waits = _v.next_attempt_time.is_not(None)
Index("notification_deliveries_due_idx", _v.priority, _v.next_attempt_time, postgresql_where=_waits)
Index(
    "notification_deliveries_waiting_idx",
    *(_v.tenant_id, _v.user_id, _v.channel, _v.next_attempt_time),
    postgresql_where=_waits,
)
Index(
    "notification_deliveries_dedupe_key",
    *(_v.tenant_id, _v.user_id, _v.dedupe_key, _v.channel, _v.notification_device_id),
    unique=True,
    postgresql_where=_v.dedupe_key != _EMPTY,
    postgresql_nulls_not_distinct=True,
)
