"""Tables of identity. Users and their sessions are global: a user may belong to many tenants, or to none yet."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKeyConstraint, Index, Text, func, text

from server.data.tables import global_table, resource_columns, time_column, uuid_column

users = global_table(
    "users",
    uuid_column("id", primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("first_name", Text, nullable=False, server_default=text("''")),
    Column("last_name", Text, nullable=False, server_default=text("''")),
    Column("is_platform", Boolean, nullable=False, server_default=text("false")),
    time_column("last_login_time", nullable=True),
    uuid_column("last_tenant_id", nullable=True),
    *resource_columns(soft_delete=True),
)
# Addresses are stored as typed (normalised by email-validator) and compared without regard to case.
Index("users_email_key", func.lower(users.c.email), unique=True, postgresql_where=users.c.delete_time.is_(None))

sessions = global_table(
    "sessions",
    uuid_column("id", primary_key=True),
    uuid_column("user_id"),
    uuid_column("current_tenant_id", nullable=True),
    Column("counter", BigInteger, nullable=False, server_default=text("0")),
    time_column("rotate_time"),
    time_column("expire_time"),
    time_column("end_time", nullable=True),
    Column("end_reason", Text, nullable=False, server_default=text("''")),
    Column("ip", Text, nullable=False, server_default=text("''")),
    Column("user_agent", Text, nullable=False, server_default=text("''")),
    time_column("create_time", server_default=text("now()")),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)
Index("sessions_user_id_idx", sessions.c.user_id)
Index("sessions_expire_time_idx", sessions.c.expire_time)
