"""Whose an event is, and whether webhooks get it."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE events ADD COLUMN audience uuid, ADD COLUMN for_webhooks boolean DEFAULT true NOT NULL")
