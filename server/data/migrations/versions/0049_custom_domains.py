"""Custom domains."""

import sqlalchemy as sa
from alembic import op

from server.data.walls import wall

revision = "0049_8b22d650"
down_revision = "0048_5d0c3a7e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "custom_domains",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("record_value", sa.Text(), nullable=False),
        sa.Column("verify_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("check_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("custom_domains_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("custom_domains_pkey")),
    )
    op.create_index(
        "custom_domains_create_time_idx", "custom_domains", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index("custom_domains_hostname_key", "custom_domains", ["tenant_id", "hostname"], unique=True)
    op.create_index(
        "custom_domains_verified_key",
        "custom_domains",
        ["hostname"],
        unique=True,
        postgresql_where=sa.text("verify_time IS NOT NULL"),
    )
    own = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
    wall("custom_domains", f"{own} OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')")
