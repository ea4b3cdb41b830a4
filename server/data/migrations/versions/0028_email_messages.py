"""Mail of tenants, and about accounts."""

import sqlalchemy as sa
from alembic import op

from server.data.walls import wall

revision = "0028_d06401df"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "email_messages",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("to", sa.Text(), nullable=False),
        sa.Column("to_folded", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("reply_to", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("doubts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_answer", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("next_attempt_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accept_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("email_messages_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("email_messages_pkey")),
        postgresql_partition_by=None,
    )
    op.create_index(
        "email_messages_create_time_idx", "email_messages", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index("email_messages_expire_time_idx", "email_messages", ["expire_time"], unique=False)
    op.create_index(
        "email_messages_next_attempt_time_idx",
        "email_messages",
        ["priority", "next_attempt_time"],
        unique=False,
        postgresql_where=sa.text("next_attempt_time IS NOT NULL"),
    )
    op.create_index(
        "email_messages_held_idx",
        "email_messages",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status = 8"),
    )
    op.create_index("email_messages_to_folded_idx", "email_messages", ["tenant_id", "to_folded"], unique=False)
    op.create_index(
        "email_messages_user_id_idx",
        "email_messages",
        ["user_id", "id"],
        unique=False,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    wall(
        "email_messages",
        "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid) OR "
        "(tenant_id IS NULL AND user_id = (SELECT nullif(current_setting('plinth.user_id', true), '')::uuid)) OR "
        "(SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')",
    )
