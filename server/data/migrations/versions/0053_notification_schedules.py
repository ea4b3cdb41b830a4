"""Notification schedules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0053_97d29bd1"
down_revision = "0052_6000b0d3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notification_schedules",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("message", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("send_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("told_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("actor_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("notification_schedules_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("notification_schedules_pkey")),
    )
    op.create_index(
        "notification_schedules_create_time_idx",
        "notification_schedules",
        ["tenant_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "notification_schedules_due_idx",
        "notification_schedules",
        ["send_time"],
        unique=False,
        postgresql_where=sa.text("state = 1"),
    )
    op.create_index(
        "notification_schedules_send_time_idx", "notification_schedules", ["tenant_id", "send_time", "id"], unique=False
    )
    op.create_index("notification_schedules_sent_idx", "notification_schedules", ["send_time"], unique=False)
    wall("notification_schedules", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
