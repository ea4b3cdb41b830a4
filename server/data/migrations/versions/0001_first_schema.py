"""The first schema: tenants with members, domains and branding; users with sessions; pages; the event log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TENANT_WALL = (
    "id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
    " OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')"
    " OR EXISTS (SELECT 1 FROM memberships m WHERE m.tenant_id = tenants.id"
    " AND m.user_id = (SELECT nullif(current_setting('plinth.user_id', true), '')::uuid))"
)
MEMBERSHIP_WALL = (
    "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
    " OR user_id = (SELECT nullif(current_setting('plinth.user_id', true), '')::uuid)"
    " OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')"
)
EVENT_WALL = (
    "tenant_id = (SELECT coalesce(nullif(current_setting('plinth.tenant_id', true), ''),"
    " '00000000-0000-0000-0000-000000000000')::uuid)"
)
OWN_WALL = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"


class Xid8(sa.types.UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Its name in DDL."""
        return "xid8"


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("transaction_id", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("actor_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "transaction_id", "sequence", name="events_pkey"),
    )
    op.create_index("events_order_idx", "events", ["transaction_id", "sequence"], unique=False)
    op.create_table(
        "tenants",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("subdomain", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("sign_up_open", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sign_up_conflict_visible", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="tenants_pkey"),
    )
    op.create_index("tenants_create_time_idx", "tenants", ["create_time", "id"], unique=False)
    op.create_index("tenants_name_idx", "tenants", ["name", "id"], unique=False)
    op.create_index(
        "tenants_subdomain_key", "tenants", ["subdomain"], unique=True, postgresql_where=sa.text("delete_time IS NULL")
    )
    op.create_table(
        "users",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("last_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_platform", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("last_login_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_tenant_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
    )
    op.create_index(
        "users_email_key",
        "users",
        [sa.literal_column("lower(email)")],
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_table(
        "brandings",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("logo_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("favicon_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("primary_color", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("secondary_color", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("accent_color", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("heading_font", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("body_font", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="brandings_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="brandings_pkey"),
    )
    op.create_index("brandings_tenant_id_key", "brandings", ["tenant_id"], unique=True)
    op.create_table(
        "domains",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="domains_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="domains_pkey"),
    )
    op.create_index("domains_hostname_key", "domains", ["hostname"], unique=True)
    op.create_table(
        "memberships",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="memberships_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name="memberships_pkey"),
    )
    op.create_index("memberships_user_id_idx", "memberships", ["user_id", "tenant_id"], unique=False)
    op.create_table(
        "pages",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=True),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="pages_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pages_pkey"),
    )
    op.create_index("pages_create_time_idx", "pages", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "pages_slug_key", "pages", ["tenant_id", "slug"], unique=True, postgresql_where=sa.text("delete_time IS NULL")
    )
    op.create_index("pages_title_idx", "pages", ["tenant_id", "title", "id"], unique=False)
    op.create_index("pages_update_time_idx", "pages", ["tenant_id", "update_time", "id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("current_tenant_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("counter", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rotate_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("ip", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("user_agent", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="sessions_user_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="sessions_pkey"),
    )
    op.create_index("sessions_expire_time_idx", "sessions", ["expire_time"], unique=False)
    op.create_index("sessions_user_id_idx", "sessions", ["user_id"], unique=False)
    wall("events", EVENT_WALL)
    wall("tenants", TENANT_WALL)
    wall("brandings", OWN_WALL)
    wall("domains", OWN_WALL)
    wall("memberships", MEMBERSHIP_WALL)
    wall("pages", OWN_WALL)
