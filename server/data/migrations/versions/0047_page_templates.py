"""Page templates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0047_54c6c241"
down_revision = "0046_ce67ee54"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "page_templates",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("category", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("industry", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("thumbnail_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("page_title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_premium", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("page_settings", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("sections", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("page_templates_pkey")),
        postgresql_partition_by=None,
    )
    op.create_index("page_templates_create_time_idx", "page_templates", ["create_time", "id"], unique=False)
    op.create_index("page_templates_display_name_idx", "page_templates", ["display_name", "id"], unique=False)
    op.create_index("page_templates_key_key", "page_templates", ["key"], unique=True)
    op.add_column("pages", sa.Column("page_template_id", sa.UUID(as_uuid=False), nullable=True))
    op.add_column("pages", sa.Column("template_version_id", sa.UUID(as_uuid=False), nullable=True))
