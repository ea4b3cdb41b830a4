"""Email suppressions."""

import sqlalchemy as sa
from alembic import op

from server.data.walls import wall

revision = "0038_c7658920"
down_revision = "0037_c25b4bb3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "email_suppressions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("category", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("email_message_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("email_suppressions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("email_suppressions_pkey")),
    )
    op.create_index(
        "email_suppressions_address_key",
        "email_suppressions",
        ["tenant_id", "address_hash", "category", "reason"],
        unique=True,
    )
    op.create_index(
        "email_suppressions_create_time_idx", "email_suppressions", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index("email_suppressions_expire_time_idx", "email_suppressions", ["expire_time"], unique=False)
    op.add_column(
        "email_messages", sa.Column("category", sa.SmallInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column("email_messages", sa.Column("token", sa.Text(), nullable=True))
    op.create_index(
        "email_messages_token_key",
        "email_messages",
        ["token"],
        unique=True,
        postgresql_where=sa.text("token IS NOT NULL"),
    )
    wall("email_suppressions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
