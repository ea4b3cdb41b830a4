"""An index for the hourly question which deleted tenants are due to be purged."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX tenants_delete_time_idx ON tenants (delete_time) WHERE delete_time IS NOT NULL")
