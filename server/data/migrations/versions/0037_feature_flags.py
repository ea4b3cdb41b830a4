"""Feature flags."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import wall

revision = "0037_c25b4bb3"
down_revision = "0036_ec224caa"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feature_flags",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("variants", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("off_variant", sa.Text(), nullable=False),
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("default_serving", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "prerequisites", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False
        ),
        sa.Column("enable_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disable_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("feature_flags_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("feature_flags_pkey")),
    )
    op.create_index("feature_flags_create_time_idx", "feature_flags", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index("feature_flags_key_key", "feature_flags", ["tenant_id", "key"], unique=True)
    op.create_table(
        "feature_flag_evaluations",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("flag_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("evaluations", sa.BigInteger(), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "flag_id"],
            ["feature_flags.tenant_id", "feature_flags.id"],
            name=op.f("feature_flag_evaluations_tenant_id_flag_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "flag_id", "day", "variant", name=op.f("feature_flag_evaluations_pkey")),
    )
    op.create_index("feature_flag_evaluations_day_idx", "feature_flag_evaluations", ["day"], unique=False)
    for table in ("feature_flags", "feature_flag_evaluations"):
        wall(
            table,
            "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid) "
            "OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')",
        )
