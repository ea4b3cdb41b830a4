"""Site seo."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0044_98ecdd10"
down_revision = "0043_a0cee4a1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "site_seo",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("site_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("social_image_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("no_index", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("score", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("page_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("refresh_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("site_seo_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("site_seo_pkey")),
    )
    op.create_index("site_seo_tenant_id_key", "site_seo", ["tenant_id"], unique=True)
    wall("site_seo", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
