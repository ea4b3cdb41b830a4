"""Indexes of what maintenance removes: deleted pages of all tenants, and old counts of calls with API keys."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX pages_delete_time_idx ON pages (delete_time) WHERE delete_time IS NOT NULL")
    op.execute("CREATE INDEX api_key_usage_day_idx ON api_key_usage (day)")
