"""Invitations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0030_232710ae"
down_revision = "0029_327e30b3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "invitations",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_folded", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("message", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("invite_user_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("token_hash", sa.LargeBinary(), nullable=True),
        sa.Column("accept_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accept_user_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("invitations_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("invitations_pkey")),
    )
    op.create_index("invitations_create_time_idx", "invitations", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index("invitations_email_folded_idx", "invitations", ["tenant_id", "email_folded"], unique=False)
    op.create_index("invitations_expire_time_idx", "invitations", ["expire_time"], unique=False)
    op.create_index("invitations_token_hash_key", "invitations", ["token_hash"], unique=True)
    wall(
        "invitations",
        "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid) OR "
        "(SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')",
    )
