"""Page seo."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0043_a0cee4a1"
down_revision = "0042_493ac53f"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "page_seo",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("page_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("keywords", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("canonical_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("no_index", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("no_follow", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("social_title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("social_description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("social_image_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("card", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("structured_data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "page_id"],
            ["pages.tenant_id", "pages.id"],
            name=op.f("page_seo_tenant_id_page_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("page_seo_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("page_seo_pkey")),
    )
    op.create_index("page_seo_page_id_key", "page_seo", ["tenant_id", "page_id"], unique=True)
    wall("page_seo", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
