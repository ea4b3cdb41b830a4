"""Email templates."""

import sqlalchemy as sa
from alembic import op

from server.data.walls import wall

revision = "0040_6023e2a5"
down_revision = "0039_7c2e6caa"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "email_templates",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mjml", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("variables", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("version_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("email_templates_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("email_templates_pkey")),
    )
    op.create_index(
        "email_templates_create_time_idx", "email_templates", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index("email_templates_key_idx", "email_templates", ["tenant_id", "key", "id"], unique=False)
    op.create_index("email_templates_key_key", "email_templates", ["tenant_id", "key", "locale"], unique=True)
    op.create_table(
        "email_template_versions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("email_template_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mjml", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("variables", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "email_template_id"],
            ["email_templates.tenant_id", "email_templates.id"],
            name=op.f("email_template_versions_tenant_id_email_template_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("email_template_versions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("email_template_versions_pkey")),
    )
    op.create_index(
        "email_template_versions_number_key",
        "email_template_versions",
        ["tenant_id", "email_template_id", "number"],
        unique=True,
    )
    op.add_column("email_messages", sa.Column("html", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("email_messages", sa.Column("email_template_version_id", sa.UUID(as_uuid=False), nullable=True))
    wall("email_templates", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("email_template_versions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
