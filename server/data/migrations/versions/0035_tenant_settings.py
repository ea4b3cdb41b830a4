"""Tenant settings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0035_c4e3c232"
down_revision = "0034_0061227e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenant_settings",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("general", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reporting", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("localization", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("tenant_settings_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("tenant_settings_pkey")),
    )
    op.create_index("tenant_settings_tenant_id_key", "tenant_settings", ["tenant_id"], unique=True)
    wall("tenant_settings", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
