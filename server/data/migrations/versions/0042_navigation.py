"""Navigation."""

import sqlalchemy as sa
from alembic import op

from server.data.walls import wall

revision = "0042_493ac53f"
down_revision = "0041_3892618d"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "navigation_items",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("page_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("parent_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("open_in_new_tab", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("hidden", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "page_id"],
            ["pages.tenant_id", "pages.id"],
            name=op.f("navigation_items_tenant_id_page_id_fkey"),
            ondelete="SET NULL (page_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"],
            ["navigation_items.tenant_id", "navigation_items.id"],
            name=op.f("navigation_items_tenant_id_parent_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("navigation_items_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("navigation_items_pkey")),
    )
    op.create_index(
        "navigation_items_create_time_idx", "navigation_items", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "navigation_items_page_id_idx",
        "navigation_items",
        ["tenant_id", "page_id"],
        unique=False,
        postgresql_where=sa.text("page_id IS NOT NULL"),
    )
    op.create_index(
        "navigation_items_parent_id_idx",
        "navigation_items",
        ["tenant_id", "parent_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index("navigation_items_place_idx", "navigation_items", ["tenant_id", "place", "id"], unique=False)
    wall("navigation_items", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
