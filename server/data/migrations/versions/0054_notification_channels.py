"""Notification channels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0054_a604da13"
down_revision = "0053_97d29bd1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notification_templates",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("body", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("variables", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("published", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("version_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_templates_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_templates_pkey")),
    )
    op.create_index(
        "notification_templates_create_time_idx",
        "notification_templates",
        ["tenant_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "notification_templates_key_idx", "notification_templates", ["tenant_id", "key", "id"], unique=False
    )
    op.create_index(
        "notification_templates_key_key", "notification_templates", ["tenant_id", "key", "locale"], unique=True
    )
    op.create_table(
        "notification_deliveries",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("notification_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("notification_device_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("merged_into_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("body", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("send_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dedupe_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["memberships.tenant_id", "memberships.user_id"],
            name=op.f("notification_deliveries_tenant_id_user_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_deliveries_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_deliveries_pkey")),
    )
    op.create_index(
        "notification_deliveries_channel_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "channel", "id"],
        unique=False,
    )
    op.create_index(
        "notification_deliveries_create_time_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "notification_deliveries_dedupe_key",
        "notification_deliveries",
        ["tenant_id", "user_id", "dedupe_key", "channel", "notification_device_id"],
        unique=True,
        postgresql_where=sa.text("dedupe_key != ''"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "notification_deliveries_due_idx",
        "notification_deliveries",
        ["priority", "next_attempt_time"],
        unique=False,
        postgresql_where=sa.text("next_attempt_time IS NOT NULL"),
    )
    op.create_index(
        "notification_deliveries_notification_id_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "notification_id", "id"],
        unique=False,
    )
    op.create_index(
        "notification_deliveries_of_tenant_idx",
        "notification_deliveries",
        ["tenant_id", "create_time", "id"],
        unique=False,
    )
    op.create_index("notification_deliveries_purge_idx", "notification_deliveries", ["create_time"], unique=False)
    op.create_index(
        "notification_deliveries_state_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "state", "id"],
        unique=False,
    )
    op.create_index(
        "notification_deliveries_update_time_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "update_time", "id"],
        unique=False,
    )
    op.create_index(
        "notification_deliveries_waiting_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "channel", "next_attempt_time"],
        unique=False,
        postgresql_where=sa.text("next_attempt_time IS NOT NULL"),
    )
    op.create_index(
        "notification_deliveries_workflow_idx",
        "notification_deliveries",
        ["tenant_id", "user_id", "workflow", "id"],
        unique=False,
    )
    op.create_table(
        "notification_devices",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("display_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("push_service", sa.Text(), nullable=False),
        sa.Column("endpoint_hash", sa.LargeBinary(), nullable=False),
        sa.Column("subscription", sa.LargeBinary(), nullable=False),
        sa.Column("last_success_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["memberships.tenant_id", "memberships.user_id"],
            name=op.f("notification_devices_tenant_id_user_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_devices_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_devices_pkey")),
    )
    op.create_index(
        "notification_devices_create_time_idx",
        "notification_devices",
        ["tenant_id", "user_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "notification_devices_endpoint_key", "notification_devices", ["tenant_id", "endpoint_hash"], unique=True
    )
    op.create_index(
        "notification_devices_of_tenant_idx", "notification_devices", ["tenant_id", "create_time", "id"], unique=False
    )
    op.add_column("notification_counts", sa.Column("email_empty_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("notification_counts", sa.Column("email_open_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("notification_counts", sa.Column("push_empty_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("notification_counts", sa.Column("push_open_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "notification_preferences", sa.Column("quiet_hours", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.add_column(
        "notification_preferences", sa.Column("email_digest", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.add_column("notification_schedules", sa.Column("texts", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    wall("notification_templates", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("notification_deliveries", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("notification_devices", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
