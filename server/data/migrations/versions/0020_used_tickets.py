"""Used tickets."""

import sqlalchemy as sa
from alembic import op

revision = "0020_d391b805"
down_revision = "0019_aa7370da"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "used_tickets",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("used_tickets_pkey")),
        postgresql_partition_by=None,
    )
    op.create_index("used_tickets_expire_time_idx", "used_tickets", ["expire_time"], unique=False)
