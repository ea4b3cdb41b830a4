"""Mail settings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0041_3892618d"
down_revision = "0040_6023e2a5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenant_settings", sa.Column("mail", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
