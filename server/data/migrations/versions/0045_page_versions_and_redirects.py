"""Page versions and redirects."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import every_row, wall

revision = "0045_e663094d"
down_revision = "0044_98ecdd10"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "page_versions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("page_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "page_id"],
            ["pages.tenant_id", "pages.id"],
            name=op.f("page_versions_tenant_id_page_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("page_versions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("page_versions_pkey")),
    )
    op.create_index(
        "page_versions_delete_time_idx",
        "page_versions",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index("page_versions_number_key", "page_versions", ["tenant_id", "page_id", "number"], unique=True)
    op.create_table(
        "redirects",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("page_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_temporary", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "page_id"],
            ["pages.tenant_id", "pages.id"],
            name=op.f("redirects_tenant_id_page_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("redirects_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("redirects_pkey")),
    )
    op.create_index("redirects_create_time_idx", "redirects", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "redirects_page_id_idx",
        "redirects",
        ["tenant_id", "page_id"],
        unique=False,
        postgresql_where=sa.text("page_id IS NOT NULL"),
    )
    op.create_index("redirects_path_key", "redirects", ["tenant_id", "path"], unique=True)
    op.add_column("pages", sa.Column("parent_id", sa.UUID(as_uuid=False), nullable=True))
    op.add_column("pages", sa.Column("locale", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("pages", sa.Column("original_id", sa.UUID(as_uuid=False), nullable=True))
    op.add_column("pages", sa.Column("version_number", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("pages", sa.Column("scheduled_publish_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("pages", sa.Column("scheduled_unpublish_time", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "pages_locale_key",
        "pages",
        ["tenant_id", "original_id", "locale"],
        unique=True,
        postgresql_where=sa.text("original_id IS NOT NULL AND delete_time IS NULL AND locale != ''"),
    )
    op.create_index(
        "pages_original_id_idx",
        "pages",
        ["tenant_id", "original_id"],
        unique=False,
        postgresql_where=sa.text("original_id IS NOT NULL"),
    )
    op.create_index(
        "pages_parent_id_idx",
        "pages",
        ["tenant_id", "parent_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "pages_scheduled_publish_time_idx",
        "pages",
        ["scheduled_publish_time"],
        unique=False,
        postgresql_where=sa.text("scheduled_publish_time IS NOT NULL"),
    )
    op.create_index(
        "pages_scheduled_unpublish_time_idx",
        "pages",
        ["scheduled_unpublish_time"],
        unique=False,
        postgresql_where=sa.text("scheduled_unpublish_time IS NOT NULL"),
    )
    # PostgreSQL looks at all rows.
    with every_row("pages"):
        op.create_foreign_key(
            op.f("pages_tenant_id_original_id_fkey"),
            "pages",
            "pages",
            ["tenant_id", "original_id"],
            ["tenant_id", "id"],
            ondelete="SET NULL (original_id)",
        )
        op.create_foreign_key(
            op.f("pages_tenant_id_parent_id_fkey"),
            "pages",
            "pages",
            ["tenant_id", "parent_id"],
            ["tenant_id", "id"],
            ondelete="SET NULL (parent_id)",
        )
    wall("page_versions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("redirects", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
