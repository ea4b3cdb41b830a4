"""Section types."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0046_ce67ee54"
down_revision = "0045_e663094d"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "section_types",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("schema", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("section_types_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("section_types_pkey")),
    )
    op.create_index("section_types_create_time_idx", "section_types", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index("section_types_kind_key", "section_types", ["tenant_id", "kind"], unique=True)
    wall("section_types", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
