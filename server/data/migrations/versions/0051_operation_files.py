"""Operation files."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0051_811293d6"
down_revision = "0050_06354059"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operations", sa.Column("file", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
