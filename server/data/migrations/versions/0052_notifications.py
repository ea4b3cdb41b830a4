"""Notifications."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0052_6000b0d3"
down_revision = "0051_811293d6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notification_runs",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("is_told", sa.Boolean(), nullable=False),
        sa.Column("explanation", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_runs_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_runs_pkey")),
    )
    op.create_index("notification_runs_create_time_idx", "notification_runs", ["create_time"], unique=False)
    op.create_index("notification_runs_user_id_idx", "notification_runs", ["tenant_id", "user_id"], unique=False)
    op.create_table(
        "notification_counts",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("unread", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unseen", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["memberships.tenant_id", "memberships.user_id"],
            name=op.f("notification_counts_tenant_id_user_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_counts_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_counts_pkey")),
    )
    op.create_index("notification_counts_user_id_idx", "notification_counts", ["tenant_id", "user_id"], unique=False)
    op.create_table(
        "notification_preferences",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["memberships.tenant_id", "memberships.user_id"],
            name=op.f("notification_preferences_tenant_id_user_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_preferences_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_preferences_pkey")),
    )
    op.create_index(
        "notification_preferences_user_id_idx", "notification_preferences", ["tenant_id", "user_id"], unique=False
    )
    op.create_table(
        "notifications",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("group_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("body", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("actor_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("unread", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("read_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("archive_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deliver_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dedupe_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["memberships.tenant_id", "memberships.user_id"],
            name=op.f("notifications_tenant_id_user_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notifications_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notifications_pkey")),
    )
    op.create_index(
        "notifications_archived_idx",
        "notifications",
        ["tenant_id", "user_id", "create_time", "id"],
        unique=False,
        postgresql_where=sa.text("archive_time IS NOT NULL"),
    )
    op.create_index(
        "notifications_category_idx", "notifications", ["tenant_id", "user_id", "category", "id"], unique=False
    )
    op.create_index(
        "notifications_create_time_idx", "notifications", ["tenant_id", "user_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "notifications_dedupe_key",
        "notifications",
        ["tenant_id", "user_id", "dedupe_key"],
        unique=True,
        postgresql_where=sa.text("dedupe_key != ''"),
    )
    op.create_index(
        "notifications_expire_time_idx",
        "notifications",
        ["expire_time"],
        unique=False,
        postgresql_where=sa.text("expire_time IS NOT NULL AND archive_time IS NULL"),
    )
    op.create_index(
        "notifications_expiring_idx",
        "notifications",
        ["tenant_id", "user_id", "expire_time"],
        unique=False,
        postgresql_where=sa.text("expire_time IS NOT NULL AND archive_time IS NULL"),
    )
    op.create_index(
        "notifications_group_key_idx", "notifications", ["tenant_id", "user_id", "group_key", "id"], unique=False
    )
    op.create_index(
        "notifications_inbox_idx",
        "notifications",
        ["tenant_id", "user_id", "create_time", "id"],
        unique=False,
        postgresql_where=sa.text("archive_time IS NULL"),
    )
    op.create_index("notifications_of_tenant_idx", "notifications", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "notifications_old_idx",
        "notifications",
        ["create_time"],
        unique=False,
        postgresql_where=sa.text("archive_time IS NULL"),
    )
    op.create_index(
        "notifications_priority_idx", "notifications", ["tenant_id", "user_id", "priority", "id"], unique=False
    )
    op.create_index("notifications_purge_idx", "notifications", ["create_time"], unique=False)
    op.create_index("notifications_unread_idx", "notifications", ["tenant_id", "user_id", "unread", "id"], unique=False)
    op.create_index(
        "notifications_update_time_idx", "notifications", ["tenant_id", "user_id", "update_time", "id"], unique=False
    )
    op.create_index(
        "notifications_workflow_idx", "notifications", ["tenant_id", "user_id", "workflow", "id"], unique=False
    )
    wall("notification_runs", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("notification_counts", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("notification_preferences", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("notifications", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
